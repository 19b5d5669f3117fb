"""Colour, marker and dashes of each series of a chart. They depend on its name, not on the order of the series."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

COLORS = (
    *("#0072b2", "#b87500", "#007d5c", "#c24f00", "#a8487f", "#4a4a4a", "#2583b5", "#857700"),
    *("#c3143c", "#5b3fa8", "#7a4b2b", "#3f7d1f"),
)
"""Colours of series: first those of Okabe and Ito (2008), distinct for people with any kind of colour vision, darkened
for contrast on white; then four for charts with many series, in which markers help to tell them apart."""
DASHES: tuple[Any, ...] = tuple(
    (0, dashes)
    for dashes in (None, (3.5, 2), (1, 1.5), (4.5, 1.5, 1, 1.5), (7, 2), (2, 1), (7, 1.5, 1, 1.5, 1, 1.5), (0.5, 2.5))
)
"""Dashes of lines, in multiples of the line width."""
MARKERS = "osD^vPX*<>ph"
"""Markers of points."""

REFERENCE = " (reference)"
"""Ending of the names of agents that use labels or true boxes."""

Look = tuple[str, str, Any]
"""Colour, marker and dashes."""

PLACES = {
    "ppo": 0, "AdaFocus": 0, "gaussian": 1, "SCSampler": 1, "oracle": 2, "LiteEval": 2, "center": 3, "ARNet": 3,
    "full_frame": 4, "WholeFrames": 4, "random": 5, "UniformFrames": 5, "ppo+skip": 6, "AdaFocusPlus": 6,
    "AdaFocus+": 6, "motion": 7, "GFNet": 7,
    "best_patch": 8, "MultiAgent": 8, "distil": 9, "AdaFrame": 9, "heuristic": 10, "ListenToLook": 10,
    "grpo": 11, "random_skip": 10, "fixed_frames": 7, "stage1": 0, "stage2": 0, "stage3": 3,
}  # fmt: skip
"""Places in ``COLORS`` of names that are often shown together."""


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Return the look of each series.

    A name has the colour of its place in ``PLACES``, or one derived from its letters. If two names of a chart have the
    same, the one that is later in the alphabet gets the next free colour, and names in ``PLACES`` go first.

    Args:
        names: names of the series that are to look different, in any order.
    """
    numbers: dict[str, int] = {}
    for name in sorted({*names}, key=lambda name: (_plain(name) not in PLACES, name)):
        wanted, turn = _place(name), 0
        free: list[int] = []
        while not free:
            turn_of = [turn * len(COLORS) + (wanted + step) % len(COLORS) for step in range(len(COLORS))]
            free, turn = [number for number in turn_of if number not in numbers.values()], turn + 1
        numbers[name] = free[0]
    return {name: look(number) for name, number in numbers.items()}


def look(number: int) -> Look:
    """Return the look with a number; after a full cycle of colours, the others are shifted by one."""
    turn = number // len(COLORS)
    return (
        COLORS[number % len(COLORS)],
        MARKERS[(number + turn) % len(MARKERS)],
        DASHES[(number + turn) % len(DASHES)],
    )


def _plain(name: str) -> str:
    """Return a name without what is added in brackets: ``AdaFocus (distil)``, or ``REFERENCE``."""
    return name.partition(" (")[0]


def _place(name: str) -> int:
    plain = _plain(name)
    if plain in PLACES:
        return PLACES[plain]
    return zlib.crc32(plain.encode("utf-8", "surrogatepass")) % len(COLORS)
