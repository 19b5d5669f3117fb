"""Carry out a sweep: build what is missing of the bank, train, measure, time, and write the leaderboard."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare.bases import base_of
from adafocus_rl.experiments.compare.pool import Failure, run_all
from adafocus_rl.experiments.compare.summary import CONFIDENCE, RESAMPLES
from adafocus_rl.experiments.compare.variants import variant_settings
from adafocus_rl.experiments.config.parser import Settings, load_settings
from adafocus_rl.experiments.run.environment import environment
from adafocus_rl.experiments.run.features import RunFeatures, tables_of
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.handover import load_recognizer
from adafocus_rl.experiments.run.lock import locked
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.steps import RANDOM_PATCHES
from adafocus_rl.experiments.sweep.choose import Origin, choose
from adafocus_rl.experiments.sweep.jobs import SystemJob
from adafocus_rl.experiments.sweep.output import write_all
from adafocus_rl.experiments.sweep.summary import SystemRow, summarise_systems
from adafocus_rl.experiments.sweep.times import system_times
from adafocus_rl.experiments.terminal.progress import Ticker, say
from adafocus_rl.files import user_path

SWEEP_VERSION = 1
"""Version of systems.json."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asks for."""

    folder: RunFolder
    """The run to compare on."""
    methods: Sequence[str]
    """Class names or labels, or ``all``."""
    arguments: Sequence[str]
    """``--KEY=VALUE`` arguments that change the configuration: options of methods, evaluation."""
    seeds: int
    jobs: int
    out: str | None
    published: bool
    command: str
    """The command line."""


def sweep(request: Request) -> tuple[dict[str, Any], list[SystemRow]]:
    """Train what is missing, measure every operating point, and write all output.

    Returns:
        The content of systems.json, and its rows.

    Raises:
        UserError: if the run has no recognizer after stage I, its bank is stale, a key or a name is wrong, or another
            process writes into the folder.
    """
    folder = request.folder
    work = user_path(request.out) if request.out else folder.output / "compare"
    stored, wanted = load_settings(folder.config), variant_settings(folder, request.arguments)
    if changed := base_of(folder, stored, wanted, work, name="--sweep").changed:
        raise UserError(
            f"{changed[0][0]} changes the recognizer or the bank, which all systems of --sweep share; train another run"
        )
    with locked(work, request.command):
        return _sweep(request, work, Run(folder, wanted.config), wanted)


def _sweep(request: Request, work: Path, run: Run, settings: Settings) -> tuple[dict[str, Any], list[SystemRow]]:
    started = time.monotonic()
    run.check_videos()
    recognizer = load_recognizer(run, RANDOM_PATCHES.name)
    origin = Origin(run=run, recognizer=recognizer, settings=settings, work=work, seeds=request.seeds)
    chosen = choose(origin, request.methods)
    for failure in chosen.left_out:
        say(f"{failure.name} is left out: {failure.reason}")
    _build_tables(run, chosen.jobs, request.command)
    failures = _run_jobs(chosen.jobs, request.jobs)
    entries = [entry for job in chosen.jobs if job.finished for entry in job.entries()]
    times = system_times(chosen.jobs)
    index = run.clips.val.index
    groups = index.groups(entries[0]["videos"]) if entries else None
    rows = summarise_systems(entries, times, groups)
    content = {
        "version": SWEEP_VERSION,
        "run": run.config.name,
        "folder": str(request.folder.path),
        "command": request.command,
        "seeds": request.seeds,
        "confidence": CONFIDENCE,
        "resamples": RESAMPLES,
        "curves": _curves(rows),
        "left_out": _plain(chosen.left_out),
        "failed": _plain(failures),
        "seconds": round(time.monotonic() - started, 1),
        "environment": environment(),
    }
    (first, *others) = write_all(work, rows, content, published=request.published)
    say(f"wrote {first} and, beside it, {', '.join(path.name for path in others)}")
    return content, rows


def _build_tables(run: Run, jobs: Sequence[SystemJob], command: str) -> None:
    """Build the tables that the systems need and the bank lacks.

    Raises:
        UserError: if the bank is stale, or another process writes into the run's folder.
    """
    tables = {table.name: table for job in jobs for table in tables_of(job.config)}
    kinds = {run.config.stage2.features, run.config.stage3.features}
    try:
        _open(
            RunFeatures(run, load_recognizer(run, RANDOM_PATCHES.name), build=False, tables=[*tables.values()]), kinds
        )
    except UserError:
        with locked(run.folder.path, command):
            recognizer = load_recognizer(run, RANDOM_PATCHES.name)
            _open(RunFeatures(run, recognizer, tables=[*tables.values()]), kinds)


def _open(features: RunFeatures, kinds: set[Any]) -> None:
    features.validation()
    for kind in sorted(kinds):
        features.training(kind)


def _run_jobs(jobs: Sequence[SystemJob], processes: int) -> list[Failure]:
    """Run the jobs that are not finished."""
    todo = [job for job in jobs if not job.finished]
    if len(todo) < len(jobs):
        say(f"{len(jobs) - len(todo)} of {len(jobs)} trainings are finished already")
    if not todo:
        return []
    with Ticker("sweep", len(todo)) as ticker:
        say(f"{len(todo)} trainings, {min(processes, len(todo))} at a time, in {todo[0].folder.parent.parent}")
        return run_all(todo, processes=processes, done=lambda job: ticker.advance(1, f"{job.name} seed {job.seed}"))


def _curves(rows: Sequence[SystemRow]) -> dict[str, list[dict[str, Any]]]:
    curves: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        curves.setdefault(row.agent, []).append(row.point_of_curve())
    return curves


def _plain(failures: Sequence[Failure]) -> list[dict[str, str]]:
    return [{"system": failure.name, "reason": failure.reason} for failure in failures]
