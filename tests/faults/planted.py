"""Deliberate faults of the product: what the suite must catch, each with a case that does."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A deliberate fault."""

    plant: Callable[[], None]
    """Puts it into this process; called when changes of files are watched already."""
    kind: str
    """Kind of case that shows it."""
    scenario: str
    path: str
    """Part of the path at whose change the case happens."""
    change: str
    """Kind of that change."""
    when: str
    says: str
    """Part of what the suite then says."""


def _fsync_skipped() -> None:
    os.fsync = lambda handle: None


def _folder_not_flushed() -> None:
    from adafocus_rl import files
    from adafocus_rl.features import shards, store

    for module in (files, shards, store):
        module.sync_folder = lambda folder: None  # type: ignore[attr-defined]


def _written_in_place() -> None:
    from adafocus_rl import checkpoint, files

    @contextlib.contextmanager
    def in_place(path: Any) -> Iterator[Path]:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        yield Path(path)

    files.replacing = checkpoint.replacing = in_place


def _renamed_before_flush() -> None:
    from adafocus_rl import checkpoint, files

    @contextlib.contextmanager
    def early(path: Any) -> Iterator[Path]:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.part")
        yield temporary
        os.replace(temporary, path)
        files.sync_folder(path.parent)
        with path.open("rb+") as file:
            os.fsync(file.fileno())

    files.replacing = checkpoint.replacing = early


def _log_after_checkpoint() -> None:
    from adafocus_rl.experiments.run.metrics_log import MetricsLog
    from adafocus_rl.rotation import CheckpointRotation

    waiting: list[Callable[[], None]] = []
    write, save = MetricsLog.write, CheckpointRotation.save

    def later(self: MetricsLog, *arguments: Any) -> None:
        waiting.append(lambda: write(self, *arguments))

    def first(self: CheckpointRotation, *arguments: Any) -> Path:
        path = save(self, *arguments)
        while waiting:
            waiting.pop(0)()
        return path

    MetricsLog.write, CheckpointRotation.save = later, first  # type: ignore[method-assign]


def _log_not_taken_back() -> None:
    from adafocus_rl.experiments.run.metrics_log import MetricsLog

    MetricsLog.forget = lambda self, stage, *, after=0: None  # type: ignore[method-assign]


def _older_removed_first() -> None:
    from adafocus_rl.rotation import CheckpointRotation

    save = CheckpointRotation.save

    def saved(self: CheckpointRotation, step: int, *arguments: Any) -> Path:
        for path in self._steps().values():
            path.unlink()
        return save(self, step, *arguments)

    CheckpointRotation.save = saved  # type: ignore[method-assign]


def _full_disk_not_noticed() -> None:
    from adafocus_rl.experiments.report import run_report

    write = run_report.write_text

    def quietly(path: Any, text: str) -> None:
        with contextlib.suppress(OSError):
            write(path, text)

    run_report.write_text = quietly  # type: ignore[attr-defined]


def _lock_ignored() -> None:
    from adafocus_rl.experiments.run import lock

    lock._lock = lambda *place, release=False: True  # type: ignore[assignment]


def _seed_of_the_clock() -> None:
    from adafocus_rl.experiments.training import trainer

    seed_all = trainer.seed_all
    trainer.seed_all = lambda seed, *names: seed_all(seed + int(time.time() / 1e7), *names)  # type: ignore[attr-defined]


def _interrupt_swallowed() -> None:
    from adafocus_rl.experiments.terminal import interrupts

    interrupts._Handler.__call__ = lambda self, number, frame: os._exit(0)  # type: ignore[method-assign]


CHECKPOINT = {"scenario": "train", "path": "stage1.resume.step00002", "change": "replace", "when": "after"}
LOG = {"scenario": "train", "path": "metrics.jsonl", "change": "write"}

PLANTED = {
    "fsync skipped": Planted(plant=_fsync_skipped, kind="cut, names kept", says="is no valid JSON", **CHECKPOINT),
    "folder not flushed": Planted(
        plant=_folder_not_flushed, kind="cut, names lost", scenario="train", path="run/results.json", change="replace",
        when="after", says="results.json",
    ),
    "written without a temporary name": Planted(
        plant=_written_in_place, kind="kill", scenario="train", path="stage1.safetensors", change="write", when="half",
        says="cannot be used",
    ),
    "renamed before the flush": Planted(
        plant=_renamed_before_flush, kind="cut, names kept", scenario="train", path="stage1.safetensors",
        change="replace", when="after", says="cannot be used",
    ),
    "log after the checkpoint": Planted(
        plant=_log_after_checkpoint, kind="kill", when="before", says="metrics.jsonl differs", **LOG
    ),
    "log not taken back": Planted(
        plant=_log_not_taken_back, kind="kill", when="after", says="metrics.jsonl differs", **LOG
    ),
    "older checkpoint removed first": Planted(
        plant=_older_removed_first, kind="kill", scenario="train", path=".stage1.resume.step00002", change="create",
        when="before", says="epoch 1 of stage1 was written and is lost",
    ),
    "full disk not noticed": Planted(
        plant=_full_disk_not_noticed, kind="full", scenario="train", path="report.html", change="create",
        when="before", says="report.html is missing",
    ),
    "lock ignored": Planted(
        plant=_lock_ignored, kind="second", when="before", says="a second process", **LOG
    ),
    "seed of the clock": Planted(plant=_seed_of_the_clock, kind="future", when="after", says="differs", **LOG),
    "signal ends it at once": Planted(plant=_interrupt_swallowed, kind="term", when="after", says="differs", **LOG),
}  # fmt: skip
