"""Termination of worker processes, so that none is left behind."""

from __future__ import annotations

import atexit
import signal
import weakref
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from adafocus_rl.data.clips import BadClip, Clip

JOIN_SECONDS = 5.0
"""Longest wait for a killed process; one that waits for a dead disk does not end."""

_started: weakref.WeakSet[BaseProcess] = weakref.WeakSet()


class _QuietIterator(_MultiProcessingDataLoaderIter):
    """torch's iterator without its message on stderr when it is deleted before all its processes have started."""

    def __del__(self) -> None:
        if hasattr(self, "_workers_status"):
            super().__del__()


class QuietLoader(DataLoader[Clip | BadClip]):
    """A DataLoader with worker processes that may fail to start."""

    def _get_iterator(self) -> Any:
        return _QuietIterator(self)


def end_processes(processes: Iterable[BaseProcess]) -> None:
    """Kill processes and wait until they have ended."""
    for process in processes:
        with suppress(ValueError, AssertionError):  # closed, or a child of another process
            process.kill()
    for process in processes:
        with suppress(ValueError, AssertionError):
            process.join(JOIN_SECONDS)


def kill_at_exit(processes: Iterable[BaseProcess]) -> None:
    """Kill processes before this one exits; otherwise Python would wait forever for a stopped one."""
    _started.update(processes)


@atexit.register
def _kill_started() -> None:
    end_processes(list(_started))


def how_it_ended(code: int | None) -> str:
    """Describe how a process ended."""
    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"
