"""Scalars to metrics.jsonl and TensorBoard, progress to stderr."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

T = TypeVar("T")

console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """One plain line on stderr."""
    console.print(text, markup=False)


class MetricsLog:
    """Writes every scalar twice: one JSON line per epoch, and TensorBoard.

    Args:
        path: metrics.jsonl.
        tensorboard: folder of event files.
    """

    def __init__(self, path: Path, tensorboard: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = SummaryWriter(str(tensorboard))  # type: ignore[no-untyped-call]

    def begin(self, stage: str, epoch: int) -> None:
        """Forgets lines of this stage after ``epoch``: they belong to a run that was interrupted or is done anew."""
        if not self.path.is_file():
            return
        lines = self.path.read_text().splitlines()
        kept = [line for line in lines if not _superseded(json.loads(line), stage, epoch)]
        self.path.write_text("".join(line + "\n" for line in kept))

    def write(self, stage: str, epoch: int, scalars: Mapping[str, float]) -> None:
        """Adds the scalars of a finished epoch (counted from 1); NaN is written as null."""
        finite = {name: value if math.isfinite(value) else None for name, value in scalars.items()}
        with self.path.open("a") as file:
            file.write(json.dumps({"stage": stage, "epoch": epoch, **finite}) + "\n")
        for name, value in scalars.items():
            self._writer.add_scalar(f"{stage}/{name}", value, epoch)  # type: ignore[no-untyped-call]
        self._writer.flush()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Ends TensorBoard's writer."""
        self._writer.close()  # type: ignore[no-untyped-call]


def _superseded(line: Mapping[str, object], stage: str, epoch: int) -> bool:
    return line["stage"] == stage and isinstance(line["epoch"], int) and line["epoch"] > epoch


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
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=console,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.total, note="")
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar:
            self._bar.stop()
        elif exc[0] is None:
            say(f"{self.title}: {self.count}/{self.total} {self.note}".rstrip())

    def advance(self, steps: int = 1, note: str | None = None) -> None:
        """Some steps are done; the note (a loss, say) stays until the next one."""
        self.count += steps
        self.note = self.note if note is None else note
        if self._bar:
            self._bar.update(self._task, advance=steps, note=self.note)
        elif time.monotonic() - self._said > 10:
            self._said = time.monotonic()
            say(f"{self.title}: {self.count}/{self.total} {self.note}".rstrip())

    def to(self, count: int, total: int) -> None:
        """Sets the count; the signature of the progress callbacks of the lower floors."""
        self.total = total
        if self._bar:
            self._bar.update(self._task, total=total)
        self.advance(count - self.count)

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """Advances by one per item."""
        for item in items:
            yield item
            self.advance()
