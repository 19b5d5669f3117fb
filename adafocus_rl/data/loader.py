"""Batches from worker processes, and what happens when a video takes its worker down with it, or a batch is lost.

A codec that crashes ends the process it runs in, and nothing in that process can report it. So each worker
writes down which video it is decoding, where this process can read it: a worker that dies, or does not come
back, has named its video. That one is given up, the workers are started again, and the pass goes on with the
batch that was due. What a clip holds follows from the seed, the epoch and the video alone, so nothing else
changes.

A batch may also be decoded and never arrive, where shared memory or open files are short: then the worker lives on, and
says so in its note, or all workers are idle while a batch is due. The workers are started again, a few times.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.utils.data import DataLoader

from adafocus_rl.data.clips import BadClip, Clip, ClipBatch, collate
from adafocus_rl.data.decode_error import reason_of
from adafocus_rl.data.processes import MAIN_GUARD, check_main_guard, may_start_processes
from adafocus_rl.data.worker_notes import Videos, WatchedVideos, prepare_worker
from adafocus_rl.data.workers import QuietLoader, end_processes, how_it_ended, kill_at_exit
from adafocus_rl.errors import UserError

POLL_SECONDS = 1.0
"""How often, while a batch is waited for, the workers are looked after."""

LOST_SECONDS = 30.0
"""How long all workers may be idle while a batch is due: putting it together and sending it takes a moment."""

START_SECONDS = 300.0
"""How long workers may take to begin."""

IDLE_LOSSES = 3
"""Workers or batches lost in a row while nothing was decoded, after which the fault is not a video's."""

LOSSES = 20
"""Workers lost in a row, without a batch between them, after which the fault is not the videos'; and batches lost in
one pass."""


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
        self._watched: WatchedVideos | None = None
        self._why = ""
        self._processes: list[BaseProcess] = []
        self._late: set[int] = set()
        self._killed_before: set[int] = set()

    def __iter__(self) -> Iterator[ClipBatch]:
        """One pass.

        Raises:
            UserError: workers end, or batches are lost, again and again, and not because of a video.
        """
        due = [list(batch) for batch in self._batches]
        done = losses = idle = lost = 0
        while done < len(due):
            batches = self._begin(due[done:])
            while batches is not None and (batch := self._next(batches)) is not None:
                done += 1
                losses = idle = 0
                yield batch
            if done < len(due):
                batches = None  # the last reference: its processes and queues go
                ends, blamed = self._recover()
                losses, idle, lost = losses + 1, 0 if blamed else idle + 1, lost + (not blamed)
                if ends and idle and multiprocessing.get_start_method() != "fork" and {*ends} <= {"exit code 1"}:
                    # So Python ends a process by an exception; it was raised before the first video.
                    raise UserError(f"the decoding processes end as they begin, with what stands above; {MAIN_GUARD}")
                if losses >= LOSSES or idle >= IDLE_LOSSES or lost >= LOSSES:
                    what = f"end again and again ({', '.join(ends)})" if ends else f"lose batches ({self._why})"
                    often = f"the last {losses} times without a batch between" if lost < LOSSES else f"{lost} times"
                    raise UserError(
                        f"the decoding processes {what}, {often}; look for a lack of memory, of shared memory "
                        "(/dev/shm; docker's --shm-size) or of open files (ulimit -n), use fewer processes "
                        "(data.workers), or decode in the main process (data.workers 0)"
                    )

    def _begin(self, due: list[list[int]]) -> Iterator[ClipBatch] | None:
        """Starts a pass over these batches; None when the workers are not fit for one."""
        # In place: persistent workers belong to one loader, which reads this list at the start of a pass.
        self._due[:] = due
        if not self.workers:
            if self._loader is None:
                self._loader = DataLoader(self.videos, **self._common())  # type: ignore[arg-type]
            return iter(self._loader)
        check_main_guard()
        before = set(multiprocessing.active_children())
        handler = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
        try:
            if self._loader is None:
                self._loader = self._make()
            return iter(self._loader)
        except (RuntimeError, OSError, EOFError) as error:
            # A pass that was left early, whose last batches do not come, a worker that ended between passes, or no
            # shared memory or open files for any.
            self._why = reason_of(error)
            return None
        finally:
            if not self._processes:
                self._processes = [one for one in multiprocessing.active_children() if one not in before]
                kill_at_exit(self._processes)
            # torch answers a worker's end with an exception wherever this process happens to be, in the middle
            # of a training step, say. We look for ourselves, when we wait for a batch.
            if handler is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGCHLD, handler)

    def _common(self) -> dict[str, Any]:
        # A generator of its own, or each pass would take a number from torch's default one.
        generator = torch.Generator().manual_seed(self._seed)
        return {**self._options, "batch_sampler": self._due, "generator": generator}

    def _make(self) -> DataLoader[Clip | BadClip]:
        self.videos.share()
        self._watched = WatchedVideos(self.videos, self.workers)
        return QuietLoader(
            self._watched,
            num_workers=self.workers,
            persistent_workers=True,
            timeout=POLL_SECONDS,
            worker_init_fn=prepare_worker,
            **self._common(),
        )

    def _next(self, batches: Iterator[ClipBatch]) -> ClipBatch | None:
        """The next batch; None at the end, or when a worker or a batch is lost."""
        asked = time.monotonic()
        try:
            while True:
                try:
                    return next(batches, None)
                except (RuntimeError, OSError, EOFError) as error:
                    if not self.workers or _is_workers_own(error):
                        raise
                    # What a dying worker still sent cannot be received, and shows before its end does.
                    if not isinstance(error, RuntimeError):
                        wait([one.sentinel for one in self._processes], timeout=POLL_SECONDS)
                    self._stop_late()
                    if not all(one.is_alive() for one in self._processes):
                        return None
                    why = self._lost(asked) if str(error).startswith("DataLoader timed out") else reason_of(error)
                    if why is not None:
                        self._why = why
                        return None
        except UserError as error:
            # From a worker: torch puts its traceback before it.
            raise UserError(str(error).rsplit("UserError: ", 1)[-1].strip()) from None
        except BaseException:
            # An interrupt, say, or a fault of ours: no process is left behind.
            self._end()
            raise

    def _lost(self, asked: float) -> str | None:
        """Why the batch that is due since then will not come; None while somebody works on it."""
        assert self._watched is not None
        dropped = self._watched.dropped()
        if dropped is not None:
            return dropped
        if self._watched.idle_seconds(asked, to_begin=START_SECONDS - LOST_SECONDS) > LOST_SECONDS:
            return f"none came for {LOST_SECONDS:g} s, though no process was decoding"
        return None

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
        lost = [process for process in self._processes if not process.is_alive()]
        ends, blamed = [], False
        for process in lost:
            end = how_it_ended(process.exitcode)
            ends.append(end)
            at = self._watched.at(process) if self._watched is not None else None
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
        self._end()
        return ends, blamed

    def _end(self) -> None:
        """Ends the workers: by force, since what they wait for may never come."""
        end_processes(self._processes)
        self._loader = self._watched = None
        self._processes = []

    def __len__(self) -> int:
        return sum(1 for _ in self._batches)


def _is_workers_own(error: Exception) -> bool:
    """Whether torch passes on what was raised in a worker, and not what kept a batch from being received."""
    return str(error).startswith("Caught ") and "in DataLoader worker process" in str(error)
