"""Rows of results: accuracy and cost of a method at one operating point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from adafocus_rl.agents import RandomAgent
from adafocus_rl.record import title_of

R = TypeVar("R", bound="Row")

RANDOM = RandomAgent.label


@dataclass(frozen=True, kw_only=True)
class Row:
    """Results of one method at one operating point on a set of videos.

    Attributes:
        agent: the method's label; ``full_frame`` for f_L on whole frames.
        variant: distinguishes rows of one label: f_C trained on random patches, or fine-tuned; None if there is only
            one.
        knob: the operating point, such as λ of frame skipping; None for a method that has only one.
        kept: share of the frames that f_L processed; None for methods that process every frame by design.
        top1: top-1 accuracy: share of videos whose predicted class is a true one, in [0, 1].
        top1_standard_error: standard error of ``top1`` over the videos, or groups of videos; the chance in the training
            is not included.
        map: mean average precision, in [0, 1].
        gmacs_per_video: 10⁹ multiply-accumulates per video, policy and f_C included; conv+fc convention.
        local_gmacs_per_video: those of f_L alone.
        ms_per_video: median milliseconds per video from decoded frames, at batch size 1; None if not measured.
        ms_q1: first quartile of the same measurements.
        ms_q3: their third quartile.
        videos: number of videos.
        reference: whether the method uses labels or true boxes, which no method in use can.
    """

    agent: str
    variant: str | None = None
    knob: float | None = None
    kept: float | None = None
    top1: float
    top1_standard_error: float
    map: float
    gmacs_per_video: float
    local_gmacs_per_video: float
    ms_per_video: float | None = None
    ms_q1: float | None = None
    ms_q3: float | None = None
    videos: int
    reference: bool

    @property
    def title(self) -> str:
        """Title of the row: ``ppo+skip at 0.01, fine-tuned``."""
        return title_of(self.agent, self.variant, self.knob)

    @property
    def point(self) -> tuple[str, float | None]:
        """Method and operating point, which its variants share."""
        return self.agent, self.knob

    @property
    def is_random(self) -> bool:
        """Whether the row's patches are random."""
        return self.agent == RANDOM

    def plain(self) -> dict[str, Any]:
        """Return the row as plain data, as files hold it."""
        return asdict(self)

    @classmethod
    def of(cls: type[R], plain: Mapping[str, Any]) -> R:
        """Create a row from plain data, the inverse of ``plain``; ignore other entries."""
        return cls(**{field.name: plain[field.name] for field in fields(cls)})


def rows_of(plain: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Create rows from plain data, as files hold them."""
    return [Row.of(row) for row in plain]


def share_of_gap(row: R, rows: Sequence[R]) -> float | None:
    """Return how much of the gap between random patches and the best reference a row closes, in top-1.

    Args:
        row: the row.
        rows: all rows of its table; the random row and the references with the row's variant count.

    Returns:
        0 for random patches, 1 for the best reference; below 0 or above 1 for rows beyond them. None without a random
        row or a reference, or if no reference is above random.
    """
    alike = [other for other in rows if other.variant == row.variant]
    low = next((other.top1 for other in alike if other.is_random), None)
    high = max((other.top1 for other in alike if other.reference), default=None)
    if low is None or high is None or high <= low:
        return None
    return (row.top1 - low) / (high - low)


def is_last(row: Row, rows: Sequence[Row]) -> bool:
    """Return whether a row has no variant, or the last variant among these rows."""
    return row.variant in (None, next((other.variant for other in reversed(rows) if other.variant is not None), None))


def superseded(row: Row, rows: Sequence[Row]) -> bool:
    """Return whether a later row is another variant of the same method and operating point."""
    later = rows[rows.index(row) + 1 :]
    return any(other.point == row.point for other in later)
