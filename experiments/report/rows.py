"""One line of results: a method at one operating point, what it recognises and what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from adafocus_rl.record import title_of

R = TypeVar("R", bound="Row")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method at one operating point on a set of videos.

    Attributes:
        agent: the method's label; ``full_frame`` for f_L on whole frames.
        variant: tells apart rows of one label: the f_C trained on random patches, or fine-tuned; None where there is
            only one.
        knob: the operating point: λ of frame skipping, say; None of a method that has only one.
        kept: share of the frames that f_L looked at; None of methods that look at every frame by design.
        top1: share of videos whose best class is a true one, in [0, 1].
        map: mean average precision, in [0, 1].
        gmacs_per_video: 10⁹ multiply-accumulates of a video, policy and f_C included; conv+fc convention.
        local_gmacs_per_video: those of f_L.
        ms_per_video: median milliseconds of a video from decoded frames, alone in its batch; None if not measured.
        videos: number of videos.
    """

    agent: str
    variant: str | None = None
    knob: float | None = None
    kept: float | None = None
    top1: float
    map: float
    gmacs_per_video: float
    local_gmacs_per_video: float
    ms_per_video: float | None = None
    videos: int

    @property
    def title(self) -> str:
        """What it is called: ``ppo+skip at 0.01, fine-tuned``."""
        return title_of(self.agent, self.variant, self.knob)

    @property
    def point(self) -> tuple[str, float | None]:
        """What its variants have in common."""
        return self.agent, self.knob

    def plain(self) -> dict[str, Any]:
        """The row as files have it."""
        return asdict(self)

    @classmethod
    def of(cls: type[R], plain: Mapping[str, Any]) -> R:
        """The inverse of ``plain``; what else a file says is left out."""
        return cls(**{field.name: plain[field.name] for field in fields(cls)})


def rows_of(plain: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Rows as files have them."""
    return [Row.of(row) for row in plain]


def is_last(row: Row, rows: Sequence[Row]) -> bool:
    """Whether a row is of the last variant that these rows have, or has none."""
    return row.variant in (None, next((other.variant for other in reversed(rows) if other.variant is not None), None))


def superseded(row: Row, rows: Sequence[Row]) -> bool:
    """Whether a later row is a further variant of the same method and operating point."""
    later = rows[rows.index(row) + 1 :]
    return any(other.point == row.point for other in later)
