"""Names beside the points of a chart, placed where they cover neither each other nor a point."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = 10.5
"""Font size, in points."""
MARKER = 12.0
"""Side of the square that a label leaves free around each point, in points."""
GAPS = (4.0, 10.0, 18.0, 28.0, 40.0, 54.0, 70.0, 90.0, 115.0)
"""Distances of a label from its point that are tried, in points."""
JOINED = 8.0
"""Distance from which a line joins a label and its point."""
ANGLES = 16
"""Number of directions that are tried at each distance."""
CROSSED = 6.0
"""What covering a piece of a line costs, as a distance in points."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """A name of a point."""

    x: float
    y: float
    text: str
    color: str


@dataclass(frozen=True)
class _Box:
    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: _Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )

    def holds(self, other: _Box) -> bool:
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.bottom <= other.bottom
            and other.top <= self.top
        )


def place_labels(
    axes: Axes,
    labels: Sequence[Label],
    *,
    points: Sequence[tuple[float, float]],
    lines: Sequence[tuple[float, float]] = (),
    faint: str,
) -> list[str]:
    """Write labels beside their points, each at the nearest free place inside the axes.

    The figure's layout must be final, and is used as it is.

    Args:
        axes: the axes, with their final limits.
        labels: the labels, of which the first are placed first.
        points: (x, y) of all drawn points, which no label covers.
        lines: (x, y) along drawn lines, which labels avoid if they can.
        faint: colour of the lines that join labels and points.

    Returns:
        The texts of labels for which there was no room; they are not drawn.
    """
    scale = 72 / axes.figure.dpi

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = axes.transData.transform((x, y)) * scale
        return float(across), float(up)

    inside = _Box(*(float(value) * scale for value in axes.bbox.extents))
    markers = [_around(*place(*point), MARKER, MARKER) for point in points]
    pieces = [_around(*place(*point), 1, 1) for point in lines]
    taken: list[_Box] = []
    left_out = []
    for label in labels:
        x, y = place(label.x, label.y)
        drawn = axes.annotate(
            label.text, (label.x, label.y), (0, 0),
            textcoords="offset points", color=label.color, fontsize=SIZE, ha="center", va="center",
        )  # fmt: skip
        drawn.set_in_layout(False)
        extent = drawn.get_window_extent()
        best, cost = None, math.inf
        for gap, box in _places(x, y, extent.width * scale + 2, extent.height * scale):
            if gap >= cost:
                break
            if not inside.holds(box) or any(box.meets(other) for other in (*taken, *markers)):
                continue
            here = gap + CROSSED * sum(box.meets(piece) for piece in pieces)
            if here < cost:
                best, cost = (gap, box), here
        if best is None:
            drawn.remove()
            left_out.append(label.text)
            continue
        gap, box = best
        taken.append(box)
        drawn.set_position(((box.left + box.right) / 2 - x, (box.bottom + box.top) / 2 - y))
        if gap > JOINED:
            # To the nearest point of the label.
            end = min(max(x, box.left), box.right) - x, min(max(y, box.bottom), box.top) - y
            axes.annotate(
                "", (label.x, label.y), end,
                textcoords="offset points", arrowprops={"arrowstyle": "-", "color": faint, "linewidth": 0.8},
            ).set_in_layout(False)  # fmt: skip
    return left_out


def _around(x: float, y: float, width: float, height: float) -> _Box:
    return _Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _places(x: float, y: float, width: float, height: float) -> Iterator[tuple[float, _Box]]:
    """Yield (distance, box) around a point, the nearest first, and to the right first."""
    for gap in GAPS:
        for number in range(ANGLES):
            # Right, left, then alternately further up and down.
            turn = (number // 4) * (1 if number % 4 < 2 else -1) + (number % 2) * ANGLES / 2
            angle = 2 * math.pi * turn / ANGLES
            away = gap + MARKER / 2
            center = x + math.cos(angle) * (away + width / 2), y + math.sin(angle) * (away + height / 2)
            yield gap, _around(*center, width, height)
