"""Notes in shared memory on what each worker process is doing, readable by the main process after a worker's death."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing import queues
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import torch
from torch.utils.data import Dataset, get_worker_info

from adafocus_rl.data.clips import BadClip, Clip
from adafocus_rl.data.decode_error import REASON_LETTERS, reason_of

_IDLE = -1

_UNBORN = -2
"""Stands for the process id before a worker starts."""


class ClipSource(Protocol):
    """What a loader needs of ``ClipDataset``."""

    decode_timeout: float

    def __len__(self) -> int: ...
    def __getitem__(self, i: int) -> Clip | BadClip: ...
    def share(self) -> None:
        """Move the state that workers must see into shared memory."""
        ...

    def give_up(self, i: int, reason: str) -> None:
        """Make item i a ``BadClip``."""
        ...


class WatchedClips(Dataset[Clip | BadClip]):
    """A dataset that notes which item each worker is decoding.

    Args:
        dataset: the clips.
        workers: number of worker processes.
        niceness: by how much the system prefers other processes to the workers (``nice``), where it knows that.

    Raises:
        RuntimeError: there is no shared memory for the notes.
    """

    def __init__(self, dataset: ClipSource, workers: int, *, niceness: int = 0) -> None:
        self.dataset = dataset
        self.niceness = niceness
        # One row per worker: process id, item or _IDLE, and time of the note (time.monotonic).
        self.notes = torch.tensor([[_UNBORN, _IDLE, time.monotonic()]] * workers, dtype=torch.float64).share_memory_()
        # One row per worker: the characters of the reason why it dropped a batch.
        self.drops = torch.zeros((workers, 4 * REASON_LETTERS), dtype=torch.uint8).share_memory_()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int) -> Clip | BadClip:
        worker = get_worker_info()
        assert worker is not None
        self.note(worker.id, i)
        try:
            return self.dataset[i]
        finally:
            self.note(worker.id, _IDLE)

    def note(self, worker: int, item: int) -> None:
        """Note that a worker begins an item, or is idle."""
        note = self.notes[worker]
        note[0] = os.getpid()
        note[2] = time.monotonic()
        note[1] = item

    def note_drop(self, worker: int, why: str) -> None:
        """Note that a worker could not send a batch."""
        text = (why or "without a word").encode()[: self.drops.shape[1]]
        self.drops[worker, : len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)

    def at(self, process: BaseProcess) -> tuple[int, float] | None:
        """Return the item that a worker is or was last decoding, and for how many seconds; None if there is none."""
        for number, item, since in self.notes.tolist():
            if number == process.pid and item != _IDLE:
                return int(item), time.monotonic() - since
        return None

    def dropped(self) -> str | None:
        """Return why a worker could not send a batch; None if no worker has noted so."""
        for row in self.drops:
            text = bytes(row.tolist()).rstrip(b"\0")
            if text:
                return text.decode(errors="replace")
        return None

    def idle_seconds(self, asked: float, *, to_begin: float) -> float:
        """Return for how many seconds all workers have been idle.

        Args:
            asked: start of the count (time.monotonic).
            to_begin: seconds that do not count for a worker that has not started.
        """
        rows: list[tuple[float, float, float]] = self.notes.tolist()
        if any(item != _IDLE for _, item, _ in rows):
            return 0.0
        last = max(since + (to_begin if number == _UNBORN else 0) for number, _, since in rows)
        return time.monotonic() - max(last, asked)


def prepare_worker(worker: int) -> None:
    """Prepare a worker process before its first item."""
    info = get_worker_info()
    assert info is not None
    dataset = info.dataset
    assert isinstance(dataset, WatchedClips)
    dataset.note(worker, _IDLE)
    if dataset.niceness and hasattr(os, "nice"):  # Windows has none
        os.nice(dataset.niceness)
    # The main process receives the interrupt too, and ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def note_drop(error: Exception, _: Any) -> None:
        dataset.note_drop(worker, reason_of(error))

    # A thread of the queue sends the batches; by default it prints an error and drops the batch.
    queues.Queue._on_queue_feeder_error = staticmethod(note_drop)  # type: ignore[attr-defined]
