"""Worker processes: how they end, and that none is left behind."""

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
"""How long a killed process is waited for; one that waits for a dead disk does not end."""

_started: weakref.WeakSet[BaseProcess] = weakref.WeakSet()


class _QuietIterator(_MultiProcessingDataLoaderIter):
    """torch's, which complains on stderr when it is thrown away before all of its processes have started."""

    def __del__(self) -> None:
        if hasattr(self, "_workers_status"):
            super().__del__()


class QuietLoader(DataLoader[Clip | BadClip]):
    """A DataLoader with worker processes that may fail to start."""

    def _get_iterator(self) -> Any:
        return _QuietIterator(self)


def end_processes(processes: Iterable[BaseProcess]) -> None:
    """Kills processes and waits until they are gone."""
    for process in processes:
        with suppress(ValueError, AssertionError):  # closed, or another process's child
            process.kill()
    for process in processes:
        with suppress(ValueError, AssertionError):
            process.join(JOIN_SECONDS)


def kill_at_exit(processes: Iterable[BaseProcess]) -> None:
    """When this process ends, these end first: Python would wait for one that is stopped, without end."""
    _started.update(processes)


@atexit.register
def _kill_started() -> None:
    end_processes(list(_started))


def how_it_ended(code: int | None) -> str:
    """How a process ended, in words."""
    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"
