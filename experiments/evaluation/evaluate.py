"""The results table: one row per agent and f_C on the same f_G and f_L, and one for f_L on whole frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from adafocus_rl.agents import Agent, CenterAgent, GaussianAgent, OracleAgent, RandomAgent
from adafocus_rl.agents.skipping import RandomSkipAgent, RandomSkipOptions
from adafocus_rl.envs.tracing import Tracer
from adafocus_rl.experiments.evaluation.measure import (
    Accuracy,
    clips_to_time,
    evaluate_agent,
    evaluate_full_frames,
    milliseconds,
)
from adafocus_rl.experiments.evaluation.recording import frame_macs, make_record
from adafocus_rl.experiments.report.contact_sheet import write_contact_sheet
from adafocus_rl.experiments.report.run_report import write_report
from adafocus_rl.experiments.run.features import RunFeatures
from adafocus_rl.experiments.run.folder import results
from adafocus_rl.experiments.run.handover import (
    is_finished,
    load_agent,
    load_classifier,
)
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.skipping import load_skipper, operating_points
from adafocus_rl.experiments.terminal.progress import say
from adafocus_rl.flops import component_macs, video_macs
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.record import EpisodeRecord

REFERENCE_AGENTS: tuple[type[Agent], ...] = (RandomAgent, CenterAgent, GaussianAgent, OracleAgent)
"""Stand in every table, the oracle where the data has true boxes."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the results table.

    Attributes:
        agent: its label; ``full_frame`` for f_L on whole frames.
        after_stage: 2 for the f_C of stage I that the agent was trained with, 3 for the fine-tuned one.
        kept: share of the frames that f_L looked at; None where none is skipped.
        price: λ that the π′ of this operating point paid for a frame; None where none is skipped. In files, ``lambda``.
        top1: share of videos whose best class is a true one, in [0, 1].
        map: mean average precision, in [0, 1].
        gmacs_per_video: 10⁹ multiply-accumulates of a video, policy and f_C included; conv+fc convention.
        local_gmacs_per_video: those of f_L.
        ms_per_video: median milliseconds of a video from decoded frames, alone in its batch; None if not measured.
        videos: number of videos.
    """

    agent: str
    after_stage: int
    kept: float | None
    price: float | None
    top1: float
    map: float
    gmacs_per_video: float
    local_gmacs_per_video: float
    ms_per_video: float | None
    videos: int

    def plain(self) -> dict[str, Any]:
        """The row as files have it."""
        return {"lambda" if name == "price" else name: value for name, value in asdict(self).items()}


class Evaluation:
    """A trained run, ready to be measured.

    Args:
        run: the run.
        features: of its videos, by the recognizer after stage I.
    """

    def __init__(self, run: Run, features: RunFeatures) -> None:
        self.run = run
        self.features = features
        recognizer = self.recognizer = features.recognizer
        self.validation = features.validation()
        self.env = run.env(self.validation, recognizer.classifier)
        self.classifiers: dict[int, Classifier] = {2: recognizer.classifier}
        if is_finished(run, "stage3"):
            self.classifiers[3], _ = load_classifier(run, "stage3", recognizer.classifier)
        self.tracers: list[Tracer] = []
        self._macs = component_macs(recognizer)
        self._clips = clips_to_time(run.clips.val, run.config.evaluation.timed_videos, workers=run.config.data.workers)

    def own_agent(self, name: str | None = None) -> Agent:
        """The run's trained agent; or one of another class that needs no training.

        Raises:
            UserError: the agent has to be trained, and this run trained none or another.
        """
        return load_agent(self.run, self.run.new_agent(self.env, name))

    def references(self, own: Agent) -> list[Agent]:
        """The agents to compare with."""
        kinds = [kind for kind in REFERENCE_AGENTS if kind is not type(own)]
        if not self.validation.has_boxes:
            kinds = [kind for kind in kinds if kind is not OracleAgent]
        return [kind(self.env, seed=self.run.config.seed) for kind in kinds]

    def agent_rows(self, agents: Sequence[Agent]) -> list[Row]:
        """A row for each agent with each f_C, in the order of the stages."""
        rows = []
        for agent in agents:
            costs = self._gmacs(policy_macs=agent.macs_per_step(), full_frames=False)
            spent = self._milliseconds(self.recognizer.classifier, agent)
            for stage, classifier in self.classifiers.items():
                tracer = self._tracer(agent.label, stage, policy_macs=agent.macs_per_step())
                found = self._accuracy(agent, classifier, tracer)
                rows.append(_row(agent.label, stage, found, costs, spent))
        return sorted(rows, key=lambda row: row.after_stage)

    def skipping_rows(self, own: Agent) -> list[Row]:
        """For each price the run's π′, and random skipping at the same share of frames, in the order of the stages.

        π and π′ run on every frame, since both are recurrent; f_L on the kept ones. After stage III both are measured
        with the f_C that was fine-tuned for this π′.

        Args:
            own: the run's agent, π.

        Raises:
            UserError: the π′ of a price was not trained.
        """
        rows: list[Row] = []
        for point in operating_points(self.run):
            skipper = load_skipper(self.run, self.env, own, point)
            classifiers = {2: self.recognizer.classifier}
            if is_finished(self.run, point.stage(3)):
                classifiers[3], _ = load_classifier(self.run, point.stage(3), self.recognizer.classifier)
            learnt = self._operating_point(own, skipper, f"{own.label}+skip", classifiers, point.price)
            share = learnt[0].kept
            assert share is not None
            chance = RandomSkipOptions(share=share)
            at_random = RandomSkipAgent(skipper.env, chance, seed=self.run.config.seed)
            rows += [*learnt, *self._operating_point(own, at_random, at_random.label, classifiers, point.price)]
        return sorted(rows, key=lambda row: row.after_stage)

    def _operating_point(
        self, own: Agent, skipper: Agent, label: str, classifiers: dict[int, Classifier], price: float
    ) -> list[Row]:
        """A row for each f_C, by stage, of π with one that skips frames."""
        rows = []
        macs = own.macs_per_step() + skipper.macs_per_step()
        spent = self._milliseconds(classifiers[2], skipper)
        for stage, classifier in classifiers.items():
            found = self._accuracy(skipper, classifier, self._tracer(label, stage, policy_macs=macs, price=price))
            assert found.kept is not None
            costs = self._gmacs(policy_macs=macs, full_frames=False, kept=found.kept)
            rows.append(_row(label, stage, found, costs, spent, price=price))
        return rows

    def _accuracy(self, agent: Agent, classifier: Classifier, tracer: Tracer) -> Accuracy:
        config = self.run.config.evaluation
        return evaluate_agent(
            agent, classifier, self.validation, batch_size=config.batch_size, repeats=config.repeats, tracer=tracer
        )

    def _tracer(
        self, name: str, stage: int, *, policy_macs: int, price: float | None = None, whole_frames: bool = False
    ) -> Tracer:
        macs = frame_macs(self._macs, policy_macs=policy_macs, whole_frames=whole_frames)
        self.tracers.append(Tracer(name=name, macs=macs, after_stage=stage, price=price))
        return self.tracers[-1]

    def record(self) -> EpisodeRecord:
        """The episodes behind the rows so far, in the order of the stages."""
        tracers = sorted(self.tracers, key=lambda tracer: tracer.after_stage)
        return make_record(self.run.clips.val, "val", tracers)

    def full_frame_row(self, classifier: Classifier) -> Row:
        """f_L on every whole frame, with an f_C trained on those features: what the patches save compute against."""
        costs = self._gmacs(policy_macs=0, full_frames=True)
        spent = self._milliseconds(classifier, None)
        tracer = self._tracer("full_frame", max(self.classifiers), policy_macs=0, whole_frames=True)
        found = evaluate_full_frames(
            classifier, self.validation, batch_size=self.run.config.evaluation.batch_size, tracer=tracer
        )
        return _row("full_frame", max(self.classifiers), found, costs, spent)

    def _milliseconds(self, classifier: Classifier, agent: Agent | None) -> float | None:
        return milliseconds(self.recognizer, classifier, agent, self._clips, device=self.run.device)

    def _gmacs(self, *, policy_macs: int, full_frames: bool, kept: float = 1.0) -> tuple[float, float]:
        """(all, f_L's) per video."""
        costs = video_macs(
            self._macs,
            num_steps=self.validation.num_steps,
            policy_macs=policy_macs,
            uses_patch=not full_frames,
            uses_full=full_frames,
            kept=kept,
        )
        return costs["total"] / 1e9, costs["local"] / 1e9


def _row(
    agent: str,
    stage: int,
    found: Accuracy,
    gmacs: tuple[float, float],
    spent: float | None,
    *,
    price: float | None = None,
) -> Row:
    return Row(
        agent=agent,
        after_stage=stage,
        kept=found.kept,
        price=price,
        top1=found.top1,
        map=found.map,
        gmacs_per_video=gmacs[0],
        local_gmacs_per_video=gmacs[1],
        ms_per_video=spent,
        videos=found.videos,
    )


def evaluate(run: Run, features: RunFeatures, full_frame: Callable[[], Classifier]) -> dict[str, Any]:
    """Measures a trained run; the table and the contact sheet are written to its folder.

    Args:
        run: the run.
        features: of its videos, by the recognizer after stage I.
        full_frame: gives the whole-frame row's f_C; asked for unless the row is left out.

    Returns:
        The content of results.json.

    Raises:
        UserError: a checkpoint is missing or of another architecture, or the bank is stale.
    """
    say("evaluating")
    started, opened = time.monotonic(), features.seconds
    evaluation = Evaluation(run, features)
    agent = evaluation.own_agent()
    rows = evaluation.agent_rows([agent, *evaluation.references(agent)])
    rows = sorted([*rows, *evaluation.skipping_rows(agent)], key=lambda row: row.after_stage)
    if run.config.evaluation.full_frame_epochs != 0:
        rows.append(evaluation.full_frame_row(full_frame()))
    record = evaluation.record()
    record.save(run.folder.episodes)
    if run.config.evaluation.sheet_videos:
        write_contact_sheet(run, record)
    seconds = run.folder.read_seconds()
    seconds["bank"] = seconds.get("bank", 0.0) + features.seconds
    seconds["evaluate"] = time.monotonic() - started - (features.seconds - opened)
    content = results([row.plain() for row in rows], seconds, run.clips.failed)
    run.folder.write_results(content)
    if run.config.evaluation.report_videos:
        write_report(run, record, content)
    return content


def evaluate_one(run: Run, features: RunFeatures, agent_name: str) -> dict[str, Any]:
    """Measures one agent on a trained run and writes nothing; as :func:`evaluate` otherwise."""
    evaluation = Evaluation(run, features)
    return results(
        [row.plain() for row in evaluation.agent_rows([evaluation.own_agent(agent_name)])], {}, run.clips.failed
    )
