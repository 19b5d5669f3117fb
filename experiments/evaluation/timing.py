"""Time per video from decoded frames, measured for several methods in turns, so that a busy machine slows all alike."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from adafocus_rl import ranks
from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.data.dataset import ClipDataset, make_loader

ROUNDS = 3
"""Timed rounds over the videos, after one round of warm-up."""


@dataclass(frozen=True, kw_only=True)
class Times:
    """Milliseconds in which a method recognises one video from decoded frames, at batch size 1."""

    median: float
    q1: float
    """First quartile."""
    q3: float
    """Third quartile."""

    def entries(self) -> dict[str, float]:
        """Return the times by the names that rows of results have for them."""
        return {"ms_per_video": self.median, "ms_q1": self.q1, "ms_q3": self.q3}


def clips_to_time(dataset: ClipDataset, count: int, *, workers: int = 0) -> tuple[list[ClipBatch], float | None]:
    """Decode a dataset's first ``count`` videos, in one process.

    Args:
        dataset: the clips.
        count: number of videos.
        workers: 0 decodes in this process, any other number in one process, because a video may crash the decoder.

    Returns:
        Those that can be decoded, one per batch, and the median milliseconds of reading, decoding and resizing one;
        None if that was not measured.
    """
    rows = range(min(count, len(dataset)))
    loader = make_loader(dataset, batches=[[row] for row in rows], workers=min(1, workers))
    clips, spent, before = [], [], time.perf_counter()
    for clip in loader:
        if len(clip):
            clips.append(clip)
            spent.append(time.perf_counter() - before)
        before = time.perf_counter()
    if loader.workers:
        del spent[:1]  # the start of the process
    return clips, 1000 * statistics.median(spent) if spent else None


def time_in_turns(
    calls: Sequence[Callable[[ClipBatch], object]], clips: Sequence[ClipBatch], *, device: torch.device
) -> list[Times | None]:
    """Measure how long calls take for each clip.

    All calls process a clip before the next clip's turn, each time in another order, and the whole is repeated
    ``ROUNDS`` times. Whatever else the machine does, and the temperature of its processors, therefore affect all calls
    alike.

    Args:
        calls: the calls to measure, such as ``LiveMethod`` objects.
        clips: batches of one video each, decoded; the times do not include decoding.
        device: device on which the calls run.

    Returns:
        The times of each call; None without clips.
    """
    spent: list[list[float]] = [[] for _ in calls]
    order, shuffler = [*range(len(calls))], random.Random(0)
    for number in range(1 + ROUNDS):
        for clip in clips:
            ranks.beat()
            shuffler.shuffle(order)
            for place in order:
                _synchronize(device)
                started = time.perf_counter()
                calls[place](clip)
                _synchronize(device)
                if number:
                    spent[place].append(1000 * (time.perf_counter() - started))
    return [_times(some) if some else None for some in spent]


def _times(spent: Sequence[float]) -> Times:
    q1, median, q3 = statistics.quantiles(spent, n=4, method="inclusive")
    return Times(median=median, q1=q1, q3=q3)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
