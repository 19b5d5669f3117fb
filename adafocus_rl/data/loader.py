"""Batches from worker processes, and what happens when a video takes its worker down with it.

A codec that crashes ends the process it runs in, and nothing in that process can report it. So each worker
writes down which video it is decoding, where this process can read it: a worker that dies, or does not come
back, has named its video. That one is given up, the workers are started again, and the pass goes on with the
batch that was due. What a clip holds follows from the seed, the epoch and the video alone, so nothing else
changes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from adafocus_rl.data.clips import BadClip, Clip, ClipBatch, collate
from adafocus_rl.data.processes import MAIN_GUARD, check_main_guard, may_start_processes
from adafocus_rl.errors import UserError

POLL_SECONDS = 1.0
"""How often, while a batch is waited for, the workers are looked after."""

IDLE_LOSSES = 3
"""Workers lost in a row while they decoded nothing, after which the fault is not a video's."""

LOSSES = 20
"""Workers lost in a row, without a batch between them, after which the fault is not the videos'."""

_IDLE = -1


class Videos(Protocol):
    """What is loaded: :class:`~adafocus_rl.data.dataset.ClipDataset`."""

    decode_timeout: float

    def __len__(self) -> int: ...
    def __getitem__(self, i: int) -> Clip | BadClip: ...
    def give_up(self, i: int, reason: str) -> None:
        """From now on item i is a :class:`~adafocus_rl.data.clips.BadClip`."""
        ...


class _Watched(Dataset[Clip | BadClip]):
    """The items, with a note of which one each worker is at.

    Args:
        videos: the items.
        workers: number of worker processes.
    """

    def __init__(self, videos: Videos, workers: int) -> None:
        self.videos = videos
        # Row by worker: process id, item or _IDLE, and when it began (time.monotonic).
        self.notes = torch.full((workers, 3), float(_IDLE), dtype=torch.float64).share_memory_()

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, i: int) -> Clip | BadClip:
        worker = get_worker_info()
        assert worker is not None
        note = self.notes[worker.id]
        note[0] = os.getpid()
        note[2] = time.monotonic()
        note[1] = i
        try:
            return self.videos[i]
        finally:
            note[1] = _IDLE

    def at(self, process: BaseProcess) -> tuple[int, float] | None:
        """The item that a worker is, or was last, decoding, and since how many seconds; None for none."""
        for number, item, since in self.notes.tolist():
            if number == process.pid and item != _IDLE:
                return int(item), time.monotonic() - since
        return None


class ClipLoader:
    """Passes over batches of videos, as often as iterated over; one pass at a time.

    Args:
        videos: the items.
        batches: their positions, batch by batch; read anew at the start of each pass.
        workers: processes that decode, kept across passes; 0 decodes in this process, which a crash then ends, and so
            does any number in a process that may not start others.
        pin: put batches into page-locked memory.
        seed: of the workers' own generators, on which no clip depends.
    """

    def __init__(self, videos: Videos, batches: Iterable[Sequence[int]], *, workers: int, pin: bool, seed: int) -> None:
        self.videos = videos
        self.workers = workers if may_start_processes() else 0
        self._batches = batches
        self._options: dict[str, Any] = {"pin_memory": pin, "collate_fn": collate}
        self._seed = seed
        self._due: list[list[int]] = []
        self._loader: DataLoader[Clip | BadClip] | None = None
        self._watched: _Watched | None = None
        self._processes: list[BaseProcess] = []
        self._late: set[int] = set()
        self._killed_before: set[int] = set()

    def __iter__(self) -> Iterator[ClipBatch]:
        """One pass.

        Raises:
            UserError: workers end again and again, and not because of a video.
        """
        due = [list(batch) for batch in self._batches]
        done = losses = idle = 0
        while done < len(due):
            batches = self._begin(due[done:])
            while batches is not None and (batch := self._next(batches)) is not None:
                done += 1
                losses = idle = 0
                yield batch
            if done < len(due):
                batches = None  # the last reference: its processes and queues go
                ends, blamed = self._recover()
                losses, idle = losses + 1, 0 if blamed else idle + 1
                if idle and multiprocessing.get_start_method() != "fork" and {*ends} <= {"exit code 1"}:
                    # So Python ends a process by an exception; it was raised before the first video.
                    raise UserError(f"the decoding processes end as they begin, with what stands above; {MAIN_GUARD}")
                if losses >= LOSSES or idle >= IDLE_LOSSES:
                    raise UserError(
                        f"the decoding processes end again and again ({', '.join(ends) or 'without a word'}), the last "
                        f"{losses} times without a batch between; look for a lack of memory or of shared memory "
                        "(/dev/shm), or decode in the main process (data.workers 0)"
                    )

    def _begin(self, due: list[list[int]]) -> Iterator[ClipBatch] | None:
        """Starts a pass over these batches; None when the workers are not fit for one."""
        # In place: persistent workers belong to one loader, which reads this list at the start of a pass.
        self._due[:] = due
        if self._loader is None:
            self._loader = self._make()
        if not self.workers:
            return iter(self._loader)
        check_main_guard()
        before = set(multiprocessing.active_children())
        handler = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
        try:
            return iter(self._loader)
        except (RuntimeError, OSError, EOFError):
            # A pass that was left early, whose last batches do not come, or a worker that ended between passes.
            return None
        finally:
            if not self._processes:
                self._processes = [one for one in multiprocessing.active_children() if one not in before]
            # torch answers a worker's end with an exception wherever this process happens to be, in the middle
            # of a training step, say. We look for ourselves, when we wait for a batch.
            if handler is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGCHLD, handler)

    def _make(self) -> DataLoader[Clip | BadClip]:
        # A generator of its own, or each pass would take a number from torch's default one.
        options: dict[str, Any] = {
            **self._options, "batch_sampler": self._due, "generator": torch.Generator().manual_seed(self._seed)
        }  # fmt: skip
        if not self.workers:
            return DataLoader(self.videos, **options)  # type: ignore[arg-type]
        self._watched = _Watched(self.videos, self.workers)
        return DataLoader(
            self._watched, num_workers=self.workers, persistent_workers=True, timeout=POLL_SECONDS, **options
        )

    def _next(self, batches: Iterator[ClipBatch]) -> ClipBatch | None:
        """The next batch; None at the end, or when a worker is lost."""
        while True:
            try:
                return next(batches, None)
            except (RuntimeError, OSError, EOFError) as error:
                if not self.workers:
                    raise
                # What a dying worker still sent cannot be received, and shows before its end does.
                if not isinstance(error, RuntimeError):
                    wait([one.sentinel for one in self._processes], timeout=POLL_SECONDS)
                self._stop_late()
                if not all(one.is_alive() for one in self._processes):
                    return None
                if not str(error).startswith("DataLoader timed out"):
                    raise

    def _stop_late(self) -> None:
        """Ends workers that have been at one video for too long."""
        assert self._watched is not None
        for process in self._processes:
            at = self._watched.at(process)
            if at is not None and 0 < self.videos.decode_timeout < at[1] and process.is_alive():
                self._late.add(at[0])
                process.kill()
                process.join()

    def _recover(self) -> tuple[list[str], bool]:
        """Gives up the videos that lost workers were at, and ends the others, whose queues may be damaged.

        Returns:
            How the lost ones ended, and whether it was while decoding.
        """
        assert self._watched is not None
        lost = [process for process in self._processes if not process.is_alive()]
        ends, blamed = [], False
        for process in lost:
            end = _end(process.exitcode)
            ends.append(end)
            at = self._watched.at(process)
            if at is None:
                continue
            blamed = True
            item = at[0]
            if item in self._late:
                reason = f"decoding it took more than {self.videos.decode_timeout:g} s (data.decode_timeout)"
            elif end == "SIGKILL" and item not in self._killed_before:
                # So ends a process when memory runs out, whatever it is doing: a second try.
                self._killed_before.add(item)
                continue
            else:
                reason = f"decoding it crashes ({end})"
            self.videos.give_up(item, reason)
        for process in self._processes:
            process.kill()
        self._loader = self._watched = None
        self._processes = []
        return ends, blamed

    def __len__(self) -> int:
        return sum(1 for _ in self._batches)


def _end(code: int | None) -> str:
    """How a process ended, in words."""
    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"
