"""A clock that also counts the work that was left out, from the speed of the part that was done."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

T = TypeVar("T")

FEW = 2
"""Videos of the first batch of a kind, which also warms up caches and libraries."""

SLOW = 4.0
"""Seconds from which a whole batch is too long to be measured; its time is then that of a few videos, scaled."""

ENOUGH = 0.3
"""Seconds of whole batches after which a pass has been measured."""

MOST = 3
"""Largest number of whole batches measured in a pass: a CUDA graph is recorded after three, so that the next ones of
the second pass show its speed."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """The speed at which clips are decoded."""

    rate: float
    """Clips per second with all worker processes, while nothing else computes."""

    start: float = 0.0
    """Seconds in which the processes start."""

    workers: int
    """Number of worker processes; 0 decodes in the main process."""

    cores: int
    """CPU cores that this process and its workers may use."""

    def beside(self, seconds: float, *, threads: int) -> float:
        """Return the seconds per clip of a pass in which clips are decoded and computed on at the same time.

        The slower of both determines them, unless there are too few cores for both.

        Args:
            seconds: seconds of computation per clip, without decoding.
            threads: CPU cores that the computation keeps busy.
        """
        alone = 1 / self.rate
        if not self.workers:
            return seconds + alone
        decoding = alone * min(self.workers, self.cores)
        return max(seconds, alone, (seconds * min(threads, self.cores) + decoding) / self.cores)


class Meter:
    """Measures parts of passes over videos.

    Args:
        device: device that computes.

    Attributes:
        passes: number of passes so far.
        scaled: whether the time of some batches was derived from smaller ones, which need less memory.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.passes = 0
        self.scaled = False
        self._threads = torch.get_num_threads() if device.type == "cpu" else 1
        self._left_out = 0.0
        self._known: set[Hashable] = set()
        self._warm: set[Hashable] = set()

    def now(self) -> float:
        """Return the seconds of a clock by which nothing was left out."""
        return self.real() + self._left_out

    def real(self) -> float:
        """Return the seconds of the machine's clock, after all work on the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.monotonic()

    def add(self, seconds: float) -> None:
        """Count seconds of work that is left out; negative for work that only the measurement needs."""
        self._left_out += seconds

    def per_clip(self, seconds: float, decoding: Decoding | None) -> float:
        """Return the seconds per clip of a pass, given those of its computation; without decoding, the same."""
        return seconds if decoding is None else decoding.beside(seconds, threads=self._threads)

    def batches(
        self,
        kind: Hashable,
        batch: Callable[[Sequence[int]], T],
        *,
        total: int,
        size: int,
        decoding: Decoding | None = None,
    ) -> Iterator[T]:
        """Yield a few batches of a pass, and count the rest as if it had been made.

        Args:
            kind: passes of one kind take batches of one source in one size.
            batch: returns the batch of some videos, given by their numbers in [0, total); it does not decode.
            total: videos of the whole pass.
            size: videos of a batch.
            decoding: speed at which worker processes decode the videos of the pass; None if none is decoded.
        """
        size, done, few = min(size, total), 0, [0.0]
        whole: list[float] = []
        began = self._begin(kind, decoding)
        while done < total:
            count = min(size if kind in self._warm else min(FEW, size), total - done)
            at = self.real()
            yield batch(range(done, done + count))
            seconds = (self.real() - at) / count
            done += count
            if count == size:
                whole.append(seconds)
                if len(whole) == MOST or sum(whole) * size > ENOUGH:
                    break
            elif not whole:
                few.append(seconds)
                if seconds * size <= SLOW:
                    self._warm.add(kind)
                elif len(few) > 2:  # the second such batch was slow, too, when everything was warm
                    self.scaled = True
                    break
        self._end(kind, began, done, total, statistics.median(whole) if whole else few[-1], decoding)

    def same_batches(
        self,
        kind: Hashable,
        batch: Callable[[Sequence[int]], T],
        *,
        total: int,
        sizes: Sequence[int],
        decoding: Decoding | None = None,
    ) -> Iterator[T]:
        """Yield batches of the same sizes in every pass, for passes whose results are put together.

        Arguments are those of ``batches``, but ``sizes`` are the numbers of videos in each batch that is made. The last
        one shows how long the others take.
        """
        began, done, seconds = self._begin(kind, decoding), 0, 0.0
        for size in sizes:
            if count := min(size, total - done):
                at = self.real()
                yield batch(range(done, done + count))
                done, seconds = done + count, (self.real() - at) / count
        self._end(kind, began, done, total, seconds, decoding)

    def _begin(self, kind: Hashable, decoding: Decoding | None) -> tuple[float, bool]:
        """Return the seconds at which a pass begins, and whether there was one of this kind before."""
        self.passes += 1
        again = kind in self._known
        if decoding is not None and not again:
            self.add(decoding.start)
        self._known.add(kind)
        return self.real(), again

    def _end(
        self,
        kind: Hashable,
        began: tuple[float, bool],
        done: int,
        total: int,
        seconds: float,
        decoding: Decoding | None,
    ) -> None:
        """Count what a pass has left out: ``done`` of ``total`` videos were made, each in ``seconds``."""
        start, again = began
        # Whatever the first pass took longer than that, it took once.
        made = self.real() - start if again else seconds * done
        self._warm.add(kind)
        self.add(self.per_clip(seconds, decoding) * total - made)
