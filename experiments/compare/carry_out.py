"""Carry out plans: train what is missing, then write compare.json and the pictures, per run and for all together."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adafocus_rl.agents import AGENTS
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare.bases import prepare
from adafocus_rl.experiments.compare.plan import Plan
from adafocus_rl.experiments.compare.plots import write_pictures
from adafocus_rl.experiments.compare.pool import Failure, run_all
from adafocus_rl.experiments.compare.recorded import recorded_results
from adafocus_rl.experiments.compare.report import write_comparison_report
from adafocus_rl.experiments.compare.summary import (
    CONFIDENCE,
    RESAMPLES,
    Results,
    curves,
    read_results,
    summarise,
)
from adafocus_rl.experiments.compare.together import put_together, refuse_shared_videos
from adafocus_rl.experiments.compare.training import LAST_STEP, Training, make_training
from adafocus_rl.experiments.run.environment import environment
from adafocus_rl.experiments.run.lock import locked
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.store import shared_store
from adafocus_rl.experiments.terminal.progress import Ticker, say
from adafocus_rl.files import write_json
from adafocus_rl.record import RANDOM_PATCHES

COMPARISON_VERSION = 2
"""Version of compare.json. Version 1 had ``after_stage``, ``top1_mean`` and ``map_mean``; no code reads it back."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The results of one plan, or of several plans together."""

    results: Mapping[str, Results]
    """Results of each requested f_C."""
    settings: dict[str, Any]
    """Agent and bank of each variant, for compare.json."""
    trainings: list[Training]
    """Trainings whose episodes the report shows."""


def carry_out(
    plans: Sequence[Plan], *, jobs: int, command: str, together: Path | None = None
) -> tuple[dict[str, Any], list[Failure]]:
    """Train what is missing, then write compare.json and the pictures.

    Args:
        plans: one plan per run, all with the same variants, seeds and stages.
        jobs: number of processes.
        command: the command line, for compare.json.
        together: folder for the combined results of all plans; None for a single plan.

    Returns:
        The content of compare.json, the combined one if there are several plans, and the failures of variants.

    Raises:
        UserError: if a run's own checkpoint or bank is missing, half-written or stale, the runs share validation
            videos, a run has no row of a requested method, or another process writes into one of the folders.
    """
    folders = [folder for plan in plans for folder in (plan.work, plan.out)]
    with ExitStack() as stack:
        for folder in {path.resolve(): path for path in [*folders, *([together] if together else [])]}.values():
            stack.enter_context(locked(folder, command))
        return _carry_out(plans, jobs=jobs, command=command, together=together)


def _carry_out(
    plans: Sequence[Plan], *, jobs: int, command: str, together: Path | None
) -> tuple[dict[str, Any], list[Failure]]:
    started = time.monotonic()
    runs = [Run(plan.folder, plan.stored.config) for plan in plans]
    for run in runs:
        run.check_videos()
    if together is not None:
        refuse_shared_videos(runs)
    # Missing rows are reported before the first training.
    copied = [recorded_results(run, plan.methods) for plan, run in zip(plans, runs, strict=True)]
    failures = [failure for plan, run in zip(plans, runs, strict=True) for failure in _prepare_bases(plan, run)]
    failed = {failure.name for failure in failures}
    trainings = [_trainings(plan, failed) for plan in plans]
    failures += _train([training for some in trainings for training in some], plans, jobs)
    found = []
    for plan, run, some, rows in zip(plans, runs, trainings, copied, strict=True):
        index = run.clips.val.index
        results = {f_c: read_results(some, f_c, index) for f_c in tuple(LAST_STEP)[: 1 + plan.finetune]}
        results[[*results][-1]].update(rows)
        folders = {name: plan.bases[name].folder for name in plan.settings}
        settings = {
            name: {"agent": wanted.values["agent"], "bank": shared_store(folders[name]) or str(folders[name].features)}
            for name, wanted in plan.settings.items()
        }
        found.append(Found(results=results, settings=settings, trainings=some))
    facts: dict[str, Any] = {"command": command, "jobs": jobs, "started": started, "failures": failures}
    for plan, run, one in zip(plans, runs, found, strict=True):
        content = _write(plan, run, one, plan.out, runs=[plan.folder.path], **facts)
    if together is not None:
        results = {f_c: put_together([one.results[f_c] for one in found]) for f_c in found[0].results}
        # Banks, and the episodes that a report shows, belong to single runs.
        settings = {name: {"agent": entry["agent"]} for name, entry in found[0].settings.items()}
        both = Found(results=results, settings=settings, trainings=[])
        content = _write(plans[0], runs[0], both, together, runs=[plan.folder.path for plan in plans], **facts)
    return content, failures


def _prepare_bases(plan: Plan, run: Run) -> list[Failure]:
    """Build missing recognizers and banks, and return the failures; the run's own must exist."""
    failures: list[Failure] = []
    reasons: dict[Path, str | None] = {}
    for name, base in plan.bases.items():
        if base.folder.path not in reasons:
            if base.changed:
                say(f"{name}: {base.needs}, in {base.folder.path}")
            try:
                prepare(base, run)
                reasons[base.folder.path] = None
            except UserError as error:
                if not base.changed:
                    raise
                reasons[base.folder.path] = str(error)
        if (reason := reasons[base.folder.path]) is not None:
            failures.append(Failure(name=name, reason=reason))
    return failures


def _trainings(plan: Plan, without: set[str]) -> list[Training]:
    """Return the first seed of all variants, then the second, …, so that an interrupted comparison has some of each."""
    firsts = {
        name: make_training(name, wanted, plan.bases[name], plan.work / "trainings", finetune=plan.finetune)
        for name, wanted in plan.settings.items()
        if name not in without
    }
    kinds = {name: AGENTS.get(wanted.config.agent.name) for name, wanted in plan.settings.items()}
    return [
        training.with_seed(seed)
        for seed in range(plan.seeds)
        for name, training in firsts.items()
        if seed == 0 or plan.finetune or kinds[name].learns or kinds[name].stochastic
    ]


def _train(trainings: Sequence[Training], plans: Sequence[Plan], jobs: int) -> list[Failure]:
    """Run the trainings that are not finished."""
    todo = [training for training in trainings if not training.finished]
    if len(todo) < len(trainings):
        say(f"{len(trainings) - len(todo)} of {len(trainings)} trainings are finished already")
    if not todo:
        return []
    with Ticker("compare", len(todo)) as ticker:
        places = ", ".join(str(plan.work / "trainings") for plan in plans)
        say(f"{len(todo)} trainings, {min(jobs, len(todo))} at a time, in {places}")
        return run_all(
            todo, processes=jobs, done=lambda training: ticker.advance(1, f"{training.name} seed {training.seed}")
        )


def _write(
    plan: Plan,
    run: Run,
    found: Found,
    out: Path,
    *,
    runs: Sequence[Path],
    command: str,
    jobs: int,
    started: float,
    failures: Sequence[Failure],
) -> dict[str, Any]:
    """Write compare.json, the pictures and the report."""
    rows = [
        row.plain() for f_c, results in found.results.items() for row in summarise(results, f_c=f_c, seeds=plan.seeds)
    ]
    content = {
        "version": COMPARISON_VERSION,
        "title": plan.title,
        "runs": [str(run) for run in runs],
        "command": command,
        "seeds": plan.seeds,
        "confidence": CONFIDENCE,
        "resamples": RESAMPLES,
        "rows": rows,
        "settings": found.settings,
        "curves": curves(found.results[RANDOM_PATCHES]),
        "failed": [{"agent": failure.name, "reason": failure.reason} for failure in failures],
        "jobs": jobs,
        "seconds": round(time.monotonic() - started, 1),
        "environment": environment(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "compare.json", content)
    write_pictures(out, content)
    say(f"wrote {out / 'compare.json'} and pictures beside it")
    say(f"wrote {write_comparison_report(run, content, found.trainings, out / 'report.html')}")
    return content
