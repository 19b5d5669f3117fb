"""Curves of accuracy along operating points, with an interval at each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKER, SMALL_MARKER = 8, 5
"""Sizes of markers of solid and of dashed curves."""
STEPS = 16
"""Number of pieces into which a line is divided to test what would cover it."""
DASHES = (0, (3.5, 2))
"""Dashes of a dashed curve, in multiples of the line width."""


@dataclass(frozen=True, kw_only=True)
class Knot:
    """An operating point on a curve."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    tip: str
    """Tooltip of the point in a page."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The operating points of a system, joined by lines in their order; curves of one name have one colour."""

    name: str
    knots: Sequence[Knot]
    dashed: bool = False
    """Whether it is a reference, dashed and with small markers: the same system with random decisions."""
    hollow: bool = False
    """Whether its markers are hollow."""


def draw_curves(
    axes: Axes, curves: Sequence[Curve], looks: Sequence[tuple[str, str, Any]], *, tip: int, ground: str
) -> None:
    """Draw curves.

    Args:
        axes: the axes.
        curves: the curves.
        looks: colour, marker and dashes of each; all solid curves are drawn without dashes, because lines between few
            points are too short for them.
        tip: number of the first point's tooltip.
        ground: colour of the background, which fills hollow markers.
    """
    for curve, (color, marker, _) in zip(curves, looks, strict=True):
        xs, ys = [knot.x for knot in curve.knots], [knot.y for knot in curve.knots]
        width = 1.3 if curve.dashed else 2
        axes.plot(xs, ys, color=color, linestyle=DASHES if curve.dashed else "solid", linewidth=width)
        for knot in curve.knots:
            if knot.low is not None and knot.high is not None:
                axes.vlines(knot.x, knot.low, knot.high, color=color, linewidth=width, alpha=0.6)
            axes.plot(
                knot.x, knot.y,
                color=color, marker=marker, markersize=SMALL_MARKER if curve.dashed else MARKER, markeredgewidth=1.5,
                markerfacecolor=ground if curve.hollow else color, gid=f"tip{tip}",
            )  # fmt: skip
            tip += 1


def along(curve: Curve, *, log_x: bool) -> list[tuple[float, float]]:
    """Return places (x, y) along the lines and intervals of a curve, close enough to test what would cover them.

    Args:
        curve: the curve.
        log_x: whether the x axis is logarithmic.
    """
    found = [place for knot in curve.knots for place in upright(knot.x, knot.low, knot.high)]
    for one, other in pairwise(curve.knots):
        for step in range(STEPS + 1):
            share = step / STEPS
            x = one.x * (other.x / one.x) ** share if log_x else one.x + share * (other.x - one.x)
            found.append((x, one.y + share * (other.y - one.y)))
    return found


def upright(x: float, low: float | None, high: float | None) -> list[tuple[float, float]]:
    """Return places (x, y) along an interval; none without one."""
    if low is None or high is None:
        return []
    return [(x, low + step / STEPS * (high - low)) for step in range(STEPS + 1)]


def logarithmic(axes: Axes) -> None:
    """Make the x axis logarithmic, with plain numbers at 1, 2 and 5 times powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def needs_log(values: Sequence[float]) -> bool:
    """Return whether positive values range over more than a factor of 10."""
    return bool(values) and min(values) > 0 and max(values) > 10 * min(values)
