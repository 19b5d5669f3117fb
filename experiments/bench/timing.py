"""Ratios of paired timings: what a benchmark measures and returns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import torch

T = TypeVar("T")

BUDGET = 2.0
"""Minimum seconds of measuring for each benchmark; every side runs at least ``LEAST`` times."""

LEAST = 5
"""Minimum number of measured rounds; the warm-up round comes before them."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Timings of two implementations that compute the same numbers."""

    name: str
    """Name of the benchmark."""
    fast: str
    """Name of the project's implementation."""
    slow: str
    """Name of the implementation that it is compared with."""
    fast_ms: float
    """Median milliseconds of the project's implementation."""
    slow_ms: float
    """Median milliseconds of the other."""
    ratio: float
    """slow / fast: median over the rounds, each of which runs both."""
    steps: int | None = None
    """Number of environment steps that each makes in this time; None if it makes none."""

    def per_second(self, ms: float) -> float | None:
        """Return the steps per second, given the milliseconds of one of both."""
        return None if self.steps is None else 1000 * self.steps / ms

    @property
    def text(self) -> str:
        """The timing as a line of text."""
        times = ", ".join(
            f"{name} {ms:.2f} ms{self._rate(ms)}" for name, ms in ((self.fast, self.fast_ms), (self.slow, self.slow_ms))
        )
        return f"{self.name}: {times}, ratio {self.ratio:.2f}"

    def _rate(self, ms: float) -> str:
        rate = self.per_second(ms)
        return "" if rate is None else f" ({rate:,.0f} steps/s)"


@dataclass(frozen=True, kw_only=True)
class VideoTiming(Timing):
    """Timings of two ways to recognise videos; milliseconds are per video."""

    batch: int
    """Number of videos in a call."""
    fast_videos_per_s: float
    """Videos per second of the project's implementation."""
    slow_videos_per_s: float
    """Videos per second of the other."""

    @classmethod
    def of_rounds(
        cls, *, name: str, fast: str, slow: str, rounds: Sequence[tuple[float, float]], videos: int
    ) -> VideoTiming:
        """Summarise the seconds of both sides in each round, for calls that recognise ``videos`` videos."""
        both = timing(name, fast, slow, [(one / videos, other / videos) for one, other in rounds])
        return cls(
            **asdict(both),
            batch=videos,
            fast_videos_per_s=1000 / both.fast_ms,
            slow_videos_per_s=1000 / both.slow_ms,
        )

    def _rate(self, ms: float) -> str:
        return f" ({1000 / ms:.3g} videos/s)"


def compare(
    name: str,
    fast: tuple[str, Callable[[], object]],
    slow: tuple[str, Callable[[], object]],
    device: torch.device,
    *,
    steps: int | None = None,
    slow_share: float = 1.0,
) -> Timing:
    """Time two functions alternately, after a warm-up round, so that a busy machine slows both down alike.

    Args:
        name: name of the benchmark.
        fast: name and function of the project's implementation.
        slow: name and function of the other.
        device: device to wait for.
        steps: environment steps of the project's function, if it makes any.
        slow_share: share of the same work that the other function does; its time is divided by it.
    """
    kept = measured_rounds(lambda: (_seconds(fast[1], device), _seconds(slow[1], device) / slow_share))
    return timing(name, fast[0], slow[0], kept, steps=steps)


def measured_rounds(measure: Callable[[], T]) -> list[T]:
    """Return what ``measure`` returns in each round, without that of the warm-up round."""
    rounds: list[T] = []
    began = time.perf_counter()
    while len(rounds) < 1 + LEAST or time.perf_counter() - began < BUDGET:
        rounds.append(measure())
    return rounds[1:]


def in_turn(functions: Sequence[Callable[[], object]], device: torch.device) -> list[tuple[float, ...]]:
    """Return the seconds of each function in each measured round; a round calls all functions."""
    return measured_rounds(lambda: tuple(_seconds(function, device) for function in functions))


def timing(
    name: str, fast: str, slow: str, rounds: Sequence[tuple[float, float]], *, steps: int | None = None
) -> Timing:
    """Return the medians over rounds, each the seconds of both implementations.

    Args:
        name: name of the benchmark.
        fast: name of the project's implementation.
        slow: name of the other.
        rounds: seconds of both.
        steps: environment steps that each makes in this time, if any.
    """
    return Timing(
        name=name,
        fast=fast,
        slow=slow,
        fast_ms=1000 * statistics.median(one for one, _ in rounds),
        slow_ms=1000 * statistics.median(other for _, other in rounds),
        ratio=statistics.median(other / one for one, other in rounds),
        steps=steps,
    )


def _seconds(function: Callable[[], object], device: torch.device) -> float:
    _synchronize(device)
    began = time.perf_counter()
    function()
    _synchronize(device)
    return time.perf_counter() - began


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
