"""What each worker process is doing, written where the main process can read it: also when it can no longer say so."""

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
"""In the place of the process id, before a worker begins."""


class Videos(Protocol):
    """What is loaded: ``ClipDataset``."""

    decode_timeout: float

    def __len__(self) -> int: ...
    def __getitem__(self, i: int) -> Clip | BadClip: ...
    def share(self) -> None:
        """Puts into shared memory what workers must see change."""
        ...

    def give_up(self, i: int, reason: str) -> None:
        """From now on item i is a ``BadClip``."""
        ...


class WatchedVideos(Dataset[Clip | BadClip]):
    """The items, with a note of which one each worker is at.

    Args:
        videos: the items.
        workers: number of worker processes.

    Raises:
        RuntimeError: no shared memory for the notes.
    """

    def __init__(self, videos: Videos, workers: int) -> None:
        self.videos = videos
        # Row by worker: process id, item or _IDLE, and since when (time.monotonic).
        self.notes = torch.tensor([[_UNBORN, _IDLE, time.monotonic()]] * workers, dtype=torch.float64).share_memory_()
        # Row by worker: the letters of why a batch of it was dropped.
        self.drops = torch.zeros((workers, 4 * REASON_LETTERS), dtype=torch.uint8).share_memory_()

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, i: int) -> Clip | BadClip:
        worker = get_worker_info()
        assert worker is not None
        self.note(worker.id, i)
        try:
            return self.videos[i]
        finally:
            self.note(worker.id, _IDLE)

    def note(self, worker: int, item: int) -> None:
        """A worker begins an item, or is done with it."""
        note = self.notes[worker]
        note[0] = os.getpid()
        note[2] = time.monotonic()
        note[1] = item

    def note_drop(self, worker: int, why: str) -> None:
        """A worker could not send a batch."""
        text = (why or "without a word").encode()[: self.drops.shape[1]]
        self.drops[worker, : len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)

    def at(self, process: BaseProcess) -> tuple[int, float] | None:
        """The item that a worker is, or was last, decoding, and since how many seconds; None for none."""
        for number, item, since in self.notes.tolist():
            if number == process.pid and item != _IDLE:
                return int(item), time.monotonic() - since
        return None

    def dropped(self) -> str | None:
        """Why a worker could not send a batch; None when none says so."""
        for row in self.drops:
            text = bytes(row.tolist()).rstrip(b"\0")
            if text:
                return text.decode(errors="replace")
        return None

    def idle_seconds(self, asked: float, *, to_begin: float) -> float:
        """For how long all workers have been idle.

        Args:
            asked: a time (time.monotonic) from which on it counts.
            to_begin: seconds that do not count for a worker that has not begun.
        """
        rows: list[tuple[float, float, float]] = self.notes.tolist()
        if any(item != _IDLE for _, item, _ in rows):
            return 0.0
        last = max(since + (to_begin if number == _UNBORN else 0) for number, _, since in rows)
        return time.monotonic() - max(last, asked)


def prepare_worker(worker: int) -> None:
    """Runs in a worker process before its first item."""
    info = get_worker_info()
    assert info is not None
    videos = info.dataset
    assert isinstance(videos, WatchedVideos)
    videos.note(worker, _IDLE)
    # The main process is interrupted as well, and ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def note_drop(error: Exception, _: Any) -> None:
        videos.note_drop(worker, reason_of(error))

    # Batches are sent by a thread of the queue, which prints what goes wrong and drops the batch.
    queues.Queue._on_queue_feeder_error = staticmethod(note_drop)  # type: ignore[attr-defined]
