"""Scalars to metrics.jsonl and TensorBoard, progress to stderr."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from adafocus_rl.experiments.tables import plain
from adafocus_rl.printable import printable

NOTE = 60
"""Characters beside a progress bar."""

WIDE = 60
"""Columns of a terminal that has room for times beside the bar."""

console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """One plain line on stderr, fit for a terminal whatever it holds."""
    console.print(plain(text))


class MetricsLog:
    """Writes every scalar twice: one JSON line per epoch, and TensorBoard, where every stage is a run of its own.

    Nothing is written, and no folder made, before the first stage begins.

    Args:
        path: metrics.jsonl.
        tensorboard: folder of event files.
    """

    def __init__(self, path: Path, tensorboard: Path) -> None:
        self.path = path
        self.tensorboard = tensorboard
        self._writers: dict[str, SummaryWriter] = {}

    def forget(self, stage: str, *, after: int = 0) -> None:
        """Drops what was written of this stage after epoch ``after``: it was interrupted, or is done anew."""
        if stage in self._writers:
            self._writers.pop(stage).close()
        if after == 0:
            shutil.rmtree(self.tensorboard / stage, ignore_errors=True)
        if self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _is_kept(line, stage, after)]
            self.path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def write(self, stage: str, epoch: int, scalars: Mapping[str, float]) -> None:
        """Adds the scalars of a finished epoch (counted from 1); NaN is written as null."""
        finite = {name: value if math.isfinite(value) else None for name, value in scalars.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": stage, "epoch": epoch, **finite}) + "\n")
        writer = self._writer(stage, epoch)
        for name, value in scalars.items():
            writer.add_scalar(name, value, epoch)
        writer.flush()

    def picture(self, stage: str, epoch: int, name: str, pixels: Tensor) -> None:
        """Adds a picture (3, H, W) uint8 of a finished epoch; TensorBoard alone has it."""
        writer = self._writer(stage, epoch)
        writer.add_image(name, pixels, epoch)
        writer.flush()

    def _writer(self, stage: str, epoch: int) -> SummaryWriter:
        if stage not in self._writers:
            # purge_step hides what an interrupted run wrote of this epoch and later ones.
            self._writers[stage] = SummaryWriter(str(self.tensorboard / stage), purge_step=epoch)
        return self._writers[stage]

    def close(self) -> None:
        """Closes the event files; writing again opens new ones."""
        while self._writers:
            self._writers.popitem()[1].close()


def _is_kept(line: str, stage: str, after: int) -> bool:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        return False  # the last line of a process that was killed while writing it
    return bool(entry["stage"] != stage or entry["epoch"] <= after)


class Ticker:
    """Progress of one job: a bar on a terminal, a plain line every ten seconds elsewhere.

    Args:
        title: what is going on.
        total: steps to come.
    """

    def __init__(self, title: str, total: int) -> None:
        self.title = title
        self.total = total
        self.count = 0
        self.note = ""
        self._said = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> Ticker:
        if console.is_terminal and not console.is_dumb_terminal:
            times = (TimeElapsedColumn(), TimeRemainingColumn()) if console.width >= WIDE else ()
            self._bar = Progress(
                TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), *times,
                TextColumn("{task.fields[note]}", markup=False), console=console,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task(printable(self.title, NOTE), total=self.total, note="")
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar:
            self._bar.stop()
        elif exc[0] is None and self.total:
            self._say()

    def advance(self, steps: int = 1, note: str | None = None) -> None:
        """Some steps are done; the note (a loss, say) stays until the next one."""
        self.count += steps
        self.note = self.note if note is None else note
        if self._bar:
            self._bar.update(self._task, advance=steps, note=printable(self.note, NOTE))
        elif time.monotonic() - self._said > 10:
            self._said = time.monotonic()
            self._say()

    def to(self, count: int, total: int) -> None:
        """Sets the count; the signature of the progress callbacks of the lower floors."""
        self.total = total
        if self._bar:
            self._bar.update(self._task, total=total)
        self.advance(count - self.count)

    def _say(self) -> None:
        say(f"{self.title}: {self.count}/{self.total} {self.note}".rstrip())
