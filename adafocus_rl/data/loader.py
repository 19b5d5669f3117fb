"""Batches from worker processes, with recovery when a video crashes its worker or a batch is lost.

A crashing codec ends its process, which then cannot report the video. Each worker therefore notes in shared memory
which video it is decoding. When a worker dies or hangs, the loader gives up that video, restarts the workers, and
continues with the batch that was due. A clip depends on the seed, the epoch and the video only, so nothing else
changes.

A decoded batch may also never arrive when shared memory or file descriptors run out. The worker then survives and
notes the error, or all workers are idle while a batch is due. In both cases the workers are restarted a few times.
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

from adafocus_rl import ranks
from adafocus_rl.data.clips import BadClip, Clip, ClipBatch, collate
from adafocus_rl.data.decode_error import reason_of
from adafocus_rl.data.processes import MAIN_GUARD, check_main_guard, may_start_processes
from adafocus_rl.data.worker_notes import ClipSource, WatchedClips, prepare_worker
from adafocus_rl.data.workers import QuietLoader, end_processes, how_it_ended, kill_at_exit
from adafocus_rl.errors import UserError

POLL_SECONDS = 1.0
"""Interval at which the workers are checked while the loader waits for a batch."""

LOST_SECONDS = 30.0
"""Longest time for which all workers may be idle while a batch is due, since collating and sending take a moment."""

START_SECONDS = 300.0
"""Longest time for workers to start."""

IDLE_LOSSES = 3
"""Number of workers or batches lost in a row outside decoding, after which a video cannot be the cause."""

LOSSES = 20
"""Number of workers lost in a row, without a batch in between, or of batches lost in one pass, after which the videos
cannot be the cause."""

NICENESS = 5
"""That of decoding processes beside several ranks that compute on the CPU. A rank that has to give way to a decoder
makes all others wait for it, many times per update."""


class ClipLoader:
    """Iterates over batches of videos; each iteration is one pass, one pass at a time.

    Args:
        dataset: the clips.
        batches: rows of each batch; read again at the start of each pass.
        workers: decoding processes, kept across passes. 0 decodes in this process, which a crash then ends; so does any
            number in a process that may not start others.
        pin: put batches into page-locked memory.
        seed: seed of the workers' own generators, on which no clip depends.
    """

    def __init__(
        self, dataset: ClipSource, batches: Iterable[Sequence[int]], *, workers: int, pin: bool, seed: int
    ) -> None:
        self.dataset = dataset
        self.workers = workers if may_start_processes() else 0
        self._batches = batches
        self._options: dict[str, Any] = {"pin_memory": pin, "collate_fn": collate}
        self._seed = seed
        self._due: list[list[int]] = []
        self._loader: DataLoader[Clip | BadClip] | None = None
        self._watched: WatchedClips | None = None
        self._why = ""
        self._processes: list[BaseProcess] = []
        self._late: set[int] = set()
        self._killed_before: set[int] = set()

    def __iter__(self) -> Iterator[ClipBatch]:
        """Run one pass.

        Raises:
            UserError: workers end or batches are lost repeatedly, and not because of a video.
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
                batches = None  # the last reference, which frees its processes and queues
                ends, blamed = self._recover()
                losses, idle, lost = losses + 1, 0 if blamed else idle + 1, lost + (not blamed)
                if ends and idle and multiprocessing.get_start_method() != "fork" and {*ends} <= {"exit code 1"}:
                    # An exception ended the process before its first video.
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
        """Start a pass over these batches; None if the workers cannot run one."""
        # Changed in place, because the loader of the persistent workers reads this list at the start of a pass.
        self._due[:] = due
        if not self.workers:
            if self._loader is None:
                self._loader = DataLoader(self.dataset, **self._common())  # type: ignore[arg-type]
            return iter(self._loader)
        check_main_guard()
        before = set(multiprocessing.active_children())
        handler = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
        try:
            if self._loader is None:
                self._loader = self._make()
            return iter(self._loader)
        except (RuntimeError, OSError, EOFError) as error:
            # The previous pass was left early and its last batches do not arrive, a worker ended between passes, or
            # shared memory or file descriptors ran out.
            self._why = reason_of(error)
            return None
        finally:
            if not self._processes:
                self._processes = [one for one in multiprocessing.active_children() if one not in before]
                kill_at_exit(self._processes)
            # torch raises an exception for a dead worker wherever this process happens to be, for example in the middle
            # of a training step. The loader checks the workers itself while it waits for a batch.
            if handler is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGCHLD, handler)

    def _common(self) -> dict[str, Any]:
        # A separate generator, otherwise each pass would draw from torch's default one.
        generator = torch.Generator().manual_seed(self._seed)
        return {**self._options, "batch_sampler": self._due, "generator": generator}

    def _make(self) -> DataLoader[Clip | BadClip]:
        self.dataset.share()
        on_cpus = not self._options["pin_memory"]
        niceness = NICENESS if on_cpus and ranks.local_world() > 1 else 0
        self._watched = WatchedClips(self.dataset, self.workers, niceness=niceness)
        return QuietLoader(
            self._watched,
            num_workers=self.workers,
            persistent_workers=True,
            timeout=POLL_SECONDS,
            worker_init_fn=prepare_worker,
            **self._common(),
        )

    def _next(self, batches: Iterator[ClipBatch]) -> ClipBatch | None:
        """Return the next batch; None at the end, or if a worker or a batch is lost."""
        asked = time.monotonic()
        try:
            while True:
                try:
                    return next(batches, None)
                except (RuntimeError, OSError, EOFError) as error:
                    if not self.workers or _is_workers_own(error):
                        raise
                    ranks.beat()
                    # A dying worker's last message cannot be received; this error precedes the worker's end.
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
            # Raised in a worker; torch puts the traceback before the message.
            raise UserError(str(error).rsplit("UserError: ", 1)[-1].strip()) from None
        except BaseException:
            # An interrupt or a bug, for example; no process is left behind.
            self._end()
            raise

    def _lost(self, asked: float) -> str | None:
        """Explain why the batch due since ``asked`` will not arrive; None while a worker may be decoding it."""
        assert self._watched is not None
        dropped = self._watched.dropped()
        if dropped is not None:
            return dropped
        if self._watched.idle_seconds(asked, to_begin=START_SECONDS - LOST_SECONDS) > LOST_SECONDS:
            return f"none came for {LOST_SECONDS:g} s, though no process was decoding"
        return None

    def _stop_late(self) -> None:
        """Kill workers that exceed the time limit for one video."""
        assert self._watched is not None
        for process in self._processes:
            at = self._watched.at(process)
            if at is not None and 0 < self.dataset.decode_timeout < at[1] and process.is_alive():
                self._late.add(at[0])
                process.kill()
                process.join()

    def _recover(self) -> tuple[list[str], bool]:
        """Give up the videos of lost workers, and end the other workers, whose queues may be damaged.

        Returns:
            How the lost workers ended, and whether any was decoding.
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
                reason = f"decoding it took more than {self.dataset.decode_timeout:g} s (data.decode_timeout)"
            elif end == "SIGKILL" and item not in self._killed_before:
                # The system kills any process when memory runs out, so the video gets a second try.
                self._killed_before.add(item)
                continue
            else:
                reason = f"decoding it crashes ({end})"
            self.dataset.give_up(item, reason)
        self._end()
        return ends, blamed

    def _end(self) -> None:
        """Kill the workers, which may be waiting for something that never comes."""
        end_processes(self._processes)
        self._loader = self._watched = None
        self._processes = []

    def __len__(self) -> int:
        return sum(1 for _ in self._batches)


def _is_workers_own(error: Exception) -> bool:
    """Return whether torch re-raises a worker's exception, and not a failure to receive a batch."""
    return str(error).startswith("Caught ") and "in DataLoader worker process" in str(error)
