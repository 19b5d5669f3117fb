"""A forecast on the terminal: in full, or as the head of a long training."""

from __future__ import annotations

from adafocus_rl import ranks
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.forecast.forecast import Forecast, forecast
from adafocus_rl.experiments.forecast.resources import release
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.terminal.command_line import print_json
from adafocus_rl.experiments.terminal.progress import duration, say
from adafocus_rl.experiments.terminal.tables import PlainTable, print_plain

LONG = 600.0
"""Seconds from which a training begins with its forecast."""


def print_forecast(found: Forecast, *, as_json: bool) -> None:
    """Print a forecast on stdout."""
    if as_json:
        print_json(found.plain())
        return
    table = PlainTable()
    table.column("step", right=False, whole=True)
    table.column("epochs", "time", "share")
    for step, seconds in found.seconds.items():
        share = f"{seconds / found.total:.0%}" if found.total else ""
        table.row(step, str(found.epochs.get(step, "")), duration(seconds), share)
    table.row("all", "", duration(found.total), "")
    table.print()
    processes = f"{found.workers} processes" if found.workers else "the main process"
    clips = ", ".join(f"{count} {name}" for name, count in found.clips.items())
    rates = ", ".join(f"{rate:.0f} {name}" for name, rate in found.clips_per_second.items())
    print_plain(f"clips: {clips}; decoded per second in {processes}: {rates}")
    print_plain(f"disk: {_disk(found)}, {_size(found.free_disk)} free")
    print_plain(f"memory: {_memory(found)}, {_size(found.free_memory)} free on {found.device}")


def begin_long_training(run: Run, stages: list[int], *, rehearsed: float, store: str | None) -> None:
    """Print the forecast of a training that will take long, in two lines on stderr; that of a shorter one not.

    Args:
        run: the run.
        stages: the stages to run, sorted.
        rehearsed: seconds in which all networks were made and used for one video. A training passes each video through
            them many times, though warm and in batches: if even this many seconds per video are few, nothing is
            measured.
        store: folder of a shared feature store; None for the run's.
    """
    videos = len(run.clips.train) + len(run.clips.val)
    if rehearsed * videos < LONG or ranks.launched():
        return
    say("measuring a few batches for a forecast")
    try:
        found = forecast(run, stages, store=store)
    except Exception as error:
        # A training must not end because its forecast failed; if the reason is its own, it will say so itself.
        say(f"there is no forecast: {type(error).__name__}: {error}")
        return
    finally:
        release(run.device)
    if found.total >= LONG:
        largest = sorted(found.seconds, key=found.seconds.__getitem__, reverse=True)
        parts = ", ".join(f"{step} {duration(found.seconds[step])}" for step in found.seconds if step in largest[:5])
        say(f"this takes about {duration(found.total)}: {parts}")
        say(f"disk: {_disk(found)}; memory: {_memory(found)}")


def check_one_process() -> None:
    """Refuse to forecast a training by several processes, of which only one could be measured here.

    Raises:
        UserError: if ``torchrun`` started this process.
    """
    if ranks.launched():
        raise UserError("--dry-run measures one process; run it without torchrun, and divide the time of training by N")


def _disk(found: Forecast) -> str:
    bank = f"{_size(found.bank_bytes)} of feature banks and " if found.bank_bytes else ""
    return f"{bank}{_size(found.checkpoint_bytes)} of checkpoints"


def _memory(found: Forecast) -> str:
    least = "more than " if found.peak_of_smaller_batches else ""
    peak = "unknown" if found.peak_bytes is None else f"{least}{_size(found.peak_bytes)} at the peak"
    if not found.bank_bytes:
        return peak
    return f"{peak}, with the banks held in it" if found.bank_in_memory else f"{peak}, with banks read from disk"


def _size(count: int) -> str:
    """Return a number of bytes in its largest unit."""
    for unit, large in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= large:
            return f"{count / large:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"
