"""Limits of the axes of a chart: the results fill it, and bounds far beyond them stand at its edge."""

from __future__ import annotations

from collections.abc import Sequence

ROOM = 0.5
"""How far beyond the results a reference may lie to be shown in its place, as a share of their range."""


def limits(values: Sequence[float], references: Sequence[float], *, least: float) -> tuple[float, float]:
    """Return the range of the values, extended to those references that lie near it.

    Args:
        values: values of results.
        references: values of bounds, such as those of agents that know the true class.
        least: smallest width of the range.
    """
    if not values:
        values = references
    low, high = min(values), max(values)
    widen = max(0.0, least - (high - low)) / 2
    low, high = low - widen, high + widen
    room = ROOM * (high - low)
    near = [value for value in references if low - room <= value <= high + room]
    return min([low, *near]), max([high, *near])


def arrow(x: float, y: float, shown_x: float, shown_y: float) -> str:
    """Return an arrow from where a point is shown to where it lies; empty if it is shown in its place."""
    names = {
        (0, 0): "", (1, 0): "→", (-1, 0): "←", (0, 1): "↑", (0, -1): "↓", (1, 1): "↗", (1, -1): "↘", (-1, 1): "↖",
        (-1, -1): "↙",
    }  # fmt: skip
    return names[(x > shown_x) - (x < shown_x), (y > shown_y) - (y < shown_y)]
