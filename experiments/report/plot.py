"""Content of charts, as plain data: lines over epochs, points and curves of accuracy against cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adafocus_rl.experiments.report.curves import Curve
from adafocus_rl.printable import printable

NAME = 80
"""Maximum number of characters of a name; of a longer one, the middle is left out."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A series over epochs."""

    name: str
    points: list[tuple[float, float]]
    band: list[tuple[float, float, float]] | None = None
    """(x, low, high) of a shaded band."""
    level: bool = False
    """Whether the series is a constant, drawn over the whole width."""
    reference: bool = False
    """Whether it is a bound; one far beyond the other lines is named at the edge instead of stretching the axis."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A result in a scatter plot."""

    name: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    hollow: bool = False
    reference: bool = False
    """Whether it is a bound; one far beyond the other points is drawn at the edge instead of stretching the axes."""

    @property
    def tip(self) -> str:
        """Tooltip of the point in a page."""
        return f"{legible(self.name)}: {self.x:.4g}, {self.y:.1f}"


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Content of one chart: lines, points or curves."""

    heading: str
    x_label: str
    y_label: str
    lines: Sequence[Line] = ()
    points: Sequence[Point] = ()
    curves: Sequence[Curve] = ()
    series: Sequence[str] = ()
    """Further names that are to look different from those shown, as in other charts with the same ``series``."""
    log_x: bool = False
    """Whether the x axis is logarithmic; for curves only."""
    large: bool = False
    """Whether the chart is larger than usual, for many series."""

    @property
    def names(self) -> list[str]:
        """Names of the drawn series, in order."""
        lines = [line.name for line in self.lines if line.points]
        others = [*(point.name for point in self.points), *(curve.name for curve in self.curves)]
        return list(dict.fromkeys([*lines, *others]))

    @property
    def tips(self) -> list[str]:
        """Tooltips of the points, then of those of the curves."""
        return [*(point.tip for point in self.points), *(knot.tip for curve in self.curves for knot in curve.knots)]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not (self.points or self.curves or any(line.points and not line.level for line in self.lines))


def accuracy_and_compute(points: Sequence[Point], *, series: Sequence[str] = ()) -> Plot:
    """Return a plot of results: top-1 accuracy in percent (y) against GMACs per video (x)."""
    return Plot(
        heading="Accuracy and compute"
        + (" (hollow: before fine-tuning)" if any(point.hollow for point in points) else ""),
        x_label="GMACs per video",
        y_label="top-1, %",
        points=points,
        series=series,
        large=True,
    )


def legible(text: str, limit: int = NAME) -> str:
    """Return text as pictures can show it: printable, and without the two characters that XML does not allow."""
    return printable(text, limit).replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")
