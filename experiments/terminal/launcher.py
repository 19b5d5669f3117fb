"""What ``torchrun`` tells the processes that it starts, read without importing torch."""

from __future__ import annotations

import multiprocessing
import os
import time

PATIENCE = 5.0
"""Seconds in which the first process reports a mistake that all processes find, and the launcher ends the others."""

_reports: list[bool] = []
_waiting: list[bool] = []


def launched() -> bool:
    """Return whether ``torchrun`` started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def gpu_may_wait() -> None:
    """Tell ``end_at_once`` that the GPU of this process may wait for another process that has been given up."""
    _waiting.append(True)


def end_at_once(code: int) -> None:
    """End this process, whose output has been flushed, if its GPU may wait: the interpreter would wait with it."""
    if _waiting:
        for process in multiprocessing.active_children():
            process.kill()
        os._exit(code)


def report_here() -> None:
    """Let this process report the end of its job, whichever its rank: the processes have agreed on it."""
    _reports.append(True)


def reports() -> bool:
    """Return whether this process reports what ends it: it is alone, or the processes have agreed on it."""
    return bool(_reports) or not launched()


def wait_for_first() -> None:
    """Let the first process report a mistake before this one does, which ``reports`` leaves open; return when this one
    has to.

    Before the processes know one another, each finds the same mistake in the options, perhaps at another time. The
    launcher ends all of them when one has ended. A mistake that only this process finds is reported by it.
    """
    if os.environ.get("RANK", "0") != "0":
        time.sleep(PATIENCE)
