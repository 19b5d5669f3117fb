"""Progress bars and messages on stderr."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from adafocus_rl.experiments.terminal.tables import plain
from adafocus_rl.printable import printable

NOTE = 60
"""Maximum number of characters of the title, and of the note, beside a progress bar."""

WIDE = 60
"""Minimum terminal width, in columns, for times beside the bar."""

console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a line of plain text to stderr, unprintable characters escaped."""
    console.print(plain(text))


class Ticker:
    """Progress display of one job: a bar on a terminal, a plain line every ten seconds elsewhere.

    Args:
        title: name of the job.
        total: number of steps.
    """

    def __init__(self, title: str, total: int) -> None:
        self.title = title
        self.total = total
        self.count = 0
        self.note = ""
        self._said = time.monotonic()
        self._last_line = ""
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
        elif exc[0] is None and self.total and self._line != self._last_line:
            self._say()

    def advance(self, steps: int = 1, note: str | None = None) -> None:
        """Count finished steps; a note (such as a loss) stays until the next one replaces it."""
        self.count += steps
        self.note = self.note if note is None else note
        if self._bar:
            self._bar.update(self._task, advance=steps, note=printable(self.note, NOTE))
        elif time.monotonic() - self._said > 10:
            self._said = time.monotonic()
            self._say()

    def to(self, count: int, total: int) -> None:
        """Set the count and the total; this signature is that of the library's progress callbacks."""
        self.total = total
        if self._bar:
            self._bar.update(self._task, total=total)
        self.advance(count - self.count)

    @property
    def _line(self) -> str:
        return f"{self.title}: {self.count}/{self.total} {self.note}".rstrip()

    def _say(self) -> None:
        self._last_line = self._line
        say(self._line)
