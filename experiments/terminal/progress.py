"""Progress bars and messages on stderr."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from adafocus_rl.experiments.terminal.tables import plain
from adafocus_rl.printable import printable

NOTE = 60
"""Maximum number of characters of the title, and of the note, beside a progress bar."""

WIDE = 60
"""Minimum terminal width, in columns, for times beside the bar."""

FIRST_LINES = 10.0
"""Seconds between plain lines at first; later, one comes each time the job has taken a hundredth longer."""

RAREST_LINES = 600.0
"""Most seconds between plain lines."""

console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a line of plain text to stderr, unprintable characters escaped."""
    console.print(plain(text))


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Drop messages and progress within the block."""
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before


def duration(seconds: float) -> str:
    """Return a time in its one or two largest units: ``45 s``, ``12 min``, ``2 h 10 min``, ``3 d 4 h``."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    large, small, names = (*divmod(minutes, 60), ("h", "min")) if minutes < 1440 else (*divmod(hours, 24), ("d", "h"))
    return f"{large} {names[0]}" + (f" {small} {names[1]}" if small else "")


class Ticker:
    """Progress display of one job: a bar on a terminal, a plain line now and then elsewhere, with the time left.

    Args:
        title: name of the job.
        total: number of steps.

    Attributes:
        count: number of finished steps.
        note: text behind the count, such as the results of the last epoch.
        running: text about the present moment, such as a loss; not shown at the end.
    """

    def __init__(self, title: str, total: int) -> None:
        self.title = title
        self.total = total
        self.count = 0
        self.note = ""
        self.running = ""
        self._done_before = 0
        self._began = self._said = time.monotonic()
        self._last_line = ""
        self._bar: Progress | None = None

    def __enter__(self) -> Ticker:
        if console.is_terminal and not console.is_dumb_terminal:
            times = (TimeElapsedColumn(), TextColumn("{task.fields[left]}")) if console.width >= WIDE else ()
            self._bar = Progress(
                TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), *times,
                TextColumn("{task.fields[note]}", markup=False), console=console,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task(printable(self.title, NOTE), total=self.total, note="", left="")
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar:
            self._bar.stop()
        elif exc[0] is None and self.total and self._line() != self._last_line:
            self._say(self._line())

    def skip(self, steps: int) -> None:
        """Count steps that were done before, by an interrupted run, and took no time now."""
        self._done_before += steps
        self.advance(steps)

    def advance(self, steps: int = 1, note: str | None = None, *, running: str | None = None) -> None:
        """Count finished steps; a note, and what is running, stay until the next ones replace them."""
        self.count += steps
        self.note = self.note if note is None else note
        self.running = self.running if running is None else running
        now = time.monotonic()
        if self._bar:
            shown = ", ".join(filter(None, (self.note, self.running)))
            left = self.seconds_left(now)
            remaining = "" if left is None else f"{duration(left)} left"
            self._bar.update(self._task, advance=steps, note=printable(shown, NOTE), left=remaining)
        elif now - self._said > min(RAREST_LINES, max(FIRST_LINES, (now - self._began) / 100)):
            self._said = now
            left = self.seconds_left(now)
            parts = (self._line(), self.running, "" if left is None else f"{duration(left)} left")
            self._say(", ".join(filter(None, parts)))

    def to(self, count: int, total: int) -> None:
        """Set the count and the total; this signature is that of the library's progress callbacks."""
        self.total = total
        if self._bar:
            self._bar.update(self._task, total=total)
        self.advance(count - self.count)

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds until the end at the mean speed so far; None if there is none yet, or at the end."""
        done, left = self.count - self._done_before, self.total - self.count
        return (now - self._began) / done * left if done > 0 and left > 0 else None

    def _line(self) -> str:
        return f"{self.title}: {self.count}/{self.total} {self.note}".rstrip()

    def _say(self, line: str) -> None:
        self._last_line = line
        say(line)
