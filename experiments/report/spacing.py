"""Positions of points that would cover each other."""

from __future__ import annotations

from collections.abc import Sequence


def side_by_side(positions: Sequence[float], *, near: float, widest: float) -> list[float]:
    """Return the shift of each point that separates points at about the same position, in their given order.

    Args:
        positions: positions of the points.
        near: maximum distance of a group's points from its first; also their spacing afterwards, if there is room.
        widest: maximum width of a group; it is also at most half the distance to the next group, so that each point's
            position stays clear.
    """
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    groups: list[list[int]] = []
    for index in order:
        if groups and positions[index] - positions[groups[-1][0]] <= near:
            groups[-1].append(index)
        else:
            groups.append([index])
    firsts = [positions[group[0]] for group in groups]
    shifts = [0.0] * len(positions)
    for number, group in enumerate(groups):
        gaps = [abs(firsts[other] - firsts[number]) for other in (number - 1, number + 1) if 0 <= other < len(groups)]
        room = min([widest, *(gap / 2 for gap in gaps)])
        step = min(near, room / max(1, len(group) - 1))
        for place, index in enumerate(sorted(group)):
            shifts[index] = step * (place - (len(group) - 1) / 2)
    return shifts
