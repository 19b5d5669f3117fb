"""The results table: one row per method and operating point, all on the same videos."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from adafocus_rl import ranks
from adafocus_rl.agents import Agent
from adafocus_rl.agents.methods import EarlyExit, Method
from adafocus_rl.data.dataset import make_loader
from adafocus_rl.experiments.evaluation.live import LiveMethod, agreement
from adafocus_rl.experiments.evaluation.measure import acting, measure
from adafocus_rl.experiments.evaluation.recording import Recorder, make_record
from adafocus_rl.experiments.evaluation.systems import Systems
from adafocus_rl.experiments.evaluation.timing import Times, clips_to_time, time_in_turns
from adafocus_rl.experiments.report.contact_sheet import log_contact_sheets, write_contact_sheet
from adafocus_rl.experiments.report.rows import Row
from adafocus_rl.experiments.report.run_report import write_report
from adafocus_rl.experiments.run.features import RunFeatures
from adafocus_rl.experiments.run.results import results
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.terminal.progress import say
from adafocus_rl.features.options import Precision
from adafocus_rl.record import EpisodeRecord
from adafocus_rl.statistics import standard_error

COMPARED_VIDEOS = 256
"""Number of validation videos in which classes predicted in another precision are compared with those in float32."""


class Evaluation:
    """Measures methods on the validation videos of a run: accuracy and compute one after another, time in turns.

    Args:
        run: the run.
        features: features of its videos, by the recognizer after stage I.
        precision: precision of the networks whose time is measured; see ``Run.deploy``.
        compile: whether they are compiled.

    Attributes:
        rows: rows of all methods measured so far; ``time`` adds the milliseconds.
        decode_ms: milliseconds to decode a clip; None if they were not measured.
    """

    def __init__(
        self, run: Run, features: RunFeatures, *, precision: Precision = "float32", compile: bool = False
    ) -> None:
        self.run = run
        self._precision = precision
        self._deployed = run.deploy(features.recognizer, precision=precision, compile=compile)
        self.validation = features.validation()
        self.rows: list[Row] = []
        self._recorders: list[Recorder] = []
        self.decode_ms: float | None = None
        self._timed: dict[tuple[str, float | None], Method] = {}

    def add(self, method: Method) -> None:
        """Measure a method at each of its operating points.

        Raises:
            UserError: if a prediction is NaN.
        """
        for knob in method.knobs or (None,):
            row, recorder = self._point(method, knob)
            self.rows.append(row)
            self._recorders.append(recorder)
            # Once for all variants, which differ in their weights only.
            self._timed.setdefault(row.point, method)

    def time(self) -> None:
        """Measure the time per video of all methods so far, in turns on the same clips."""
        # In a job of several ranks, one measures while the others leave the machine to it.
        found, self.decode_ms = ranks.first(self._measure_times)
        times: dict[Any, dict[str, Any]] = {
            point: one.entries() for point, one in zip(self._timed, found, strict=True) if one is not None
        }
        self.rows = [replace(row, **times.get(row.point, {})) for row in self.rows]

    def report_agreement(self, method: Method) -> None:
        """Print how often the deployed method predicts the class of the method in float32, unless it is in float32."""
        if self._precision == "float32":
            return
        data, knob = self.run.clips.val, next(iter(method.knobs), None)
        size = self.run.config.evaluation.batch_size
        rows = range(min(COMPARED_VIDEOS, len(data)))
        batches = make_loader(
            data, batches=[[*rows[at : at + size]] for at in rows[::size]], workers=self.run.config.data.workers
        )
        plain = LiveMethod(method, knob, device=self.run.device)
        deployed = LiveMethod(method, knob, device=self.run.device, deployed=self._deployed)
        same, total = agreement(plain, deployed, batches)
        say(
            f"{self._precision}: {method.label} predicts the class that it predicts in float32 for {same} of {total} "
            "validation videos"
        )

    def record(self) -> EpisodeRecord:
        """Return the record of the episodes behind the rows so far."""
        return make_record(self.run.clips.val, "val", self._recorders)

    def _point(self, method: Method, knob: float | None) -> tuple[Row, Recorder]:
        config = self.run.config.evaluation
        recorder = Recorder(name=method.label, variant=method.variant, knob=knob)
        found = measure(
            acting(method, knob),
            self.validation,
            batch_size=config.batch_size,
            visits=config.repeats if method.stochastic else 1,
            recorder=recorder,
        )
        row = Row(
            agent=method.label,
            variant=method.variant,
            knob=knob,
            kept=found.kept,
            top1=found.top1,
            top1_standard_error=standard_error(found.rates, self.run.clips.val.index.groups(found.rows)),
            map=found.map,
            gmacs_per_video=found.macs / 1e9,
            local_gmacs_per_video=found.local_macs / 1e9,
            videos=found.videos,
            reference=method.privileged,
        )
        return row, recorder

    def _measure_times(self) -> tuple[list[Times | None], float | None]:
        config, device = self.run.config, self.run.device
        clips, decode_ms = clips_to_time(
            self.run.clips.val, config.evaluation.timed_videos, workers=config.data.workers
        )
        calls = [
            LiveMethod(method, knob, device=device, deployed=self._deployed)
            for (_, knob), method in self._timed.items()
        ]
        return time_in_turns(calls, clips, device=device), decode_ms


def evaluate(
    run: Run,
    features: RunFeatures,
    others: Callable[[], Sequence[Method]],
    *,
    budgets: Sequence[float] = (),
    precision: Precision = "float32",
    compile: bool = False,
) -> dict[str, Any]:
    """Measure a trained run; write the table, the episodes, the contact sheet and the report to its folder.

    Nothing is written for the run that comes with the package, which stays as it is.

    Args:
        run: the run.
        features: features of its videos, by the recognizer after stage I.
        others: called for further trained methods besides those of the run's agents, such as f_L on whole frames.
        budgets: GMACs per video for which the run's agent also exits early.
        precision: precision of the networks whose time is measured. Accuracy is that on the features.
        compile: whether they are compiled.

    Returns:
        The content of results.json.

    Raises:
        UserError: if a checkpoint is missing or of another architecture, the bank is stale, or a budget is too small.
    """
    say("evaluating")
    started, opened = time.monotonic(), features.seconds
    evaluation = Evaluation(run, features, precision=precision, compile=compile)
    systems = _systems(run, features)
    own = systems.agent()
    found = [*systems.all(own), *_early_exits(features, systems, own, budgets), *others()]
    variants = list(dict.fromkeys(method.variant for method in found))
    for method in sorted(found, key=lambda method: variants.index(method.variant)):
        evaluation.add(method)
    evaluation.time()
    evaluation.report_agreement(systems.last(own))

    def write() -> dict[str, Any]:
        record = None if run.folder.shipped else evaluation.record()
        if record:
            record.save(run.folder.episodes)
            if run.config.evaluation.sheet_videos:
                write_contact_sheet(run, record)
            if run.config.evaluation.replay_every:
                log_contact_sheets(run, record)
        seconds = run.folder.read_seconds()
        seconds["bank"] = seconds.get("bank", 0.0) + features.seconds
        seconds["evaluate"] = time.monotonic() - started - (features.seconds - opened)
        rows = [row.plain() for row in evaluation.rows]
        content = results(rows, seconds, run.clips.failed, decode_ms=evaluation.decode_ms)
        if record:
            run.folder.write_results(content)
            if run.config.evaluation.report_videos:
                write_report(run, record, content)
        return content

    return ranks.first(write)


def evaluate_one(
    run: Run,
    features: RunFeatures,
    agent_name: str,
    *,
    budgets: Sequence[float] = (),
    precision: Precision = "float32",
    compile: bool = False,
) -> dict[str, Any]:
    """Measure one agent on a trained run without writing anything; otherwise as ``evaluate``."""
    evaluation = Evaluation(run, features, precision=precision, compile=compile)
    systems = _systems(run, features)
    agent = systems.agent(agent_name)
    for method in (*systems.of_agents([agent]), *_early_exits(features, systems, agent, budgets)):
        evaluation.add(method)
    evaluation.time()
    evaluation.report_agreement(systems.last(agent))
    return results([row.plain() for row in evaluation.rows], {}, run.clips.failed, decode_ms=evaluation.decode_ms)


def _early_exits(features: RunFeatures, systems: Systems, agent: Agent, budgets: Sequence[float]) -> list[EarlyExit]:
    """Return AdaFocus with an agent in each trained variant, with thresholds for budgets solved on training videos."""
    if not budgets:
        return []
    config = systems.run.config
    training = features.training(config.stage3.features)
    return [
        EarlyExit.for_budgets(method, training, budgets, batch_size=config.evaluation.batch_size)
        for method in systems.of_agents([agent])
    ]


def _systems(run: Run, features: RunFeatures) -> Systems:
    recognizer = features.recognizer
    return Systems(run, recognizer, run.env(features.validation(), recognizer.classifier))
