"""Charts of a page as inline SVG: text that scales, colours from the page's style sheet, a title for screen readers.

Series are told apart by colour, by the shape of their points and by the dashes of their lines, so that no one of these
has to be seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 440, 270
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 14, 44
COLORS = 8
"""Series colours ``--s0`` to ``--s7`` of the style sheet."""
DASHES = ("", "7 4", "2 3", "9 3 2 3", "14 4", "4 2", "14 3 2 3 2 3", "1 5")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A series over epochs."""

    name: str
    points: list[tuple[float, float]]
    band: list[tuple[float, float, float]] | None = None
    """(x, low, high)."""
    level: bool = False
    """A constant, drawn over the whole width."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A result in a scatter plot."""

    name: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    hollow: bool = False


def line_chart(lines: Sequence[Line], *, title: str, x_label: str, y_label: str) -> Markup:
    """Lines with bands; empty without any point."""
    lines = [line for line in lines if line.points]
    drawn = [line for line in lines if not line.level]
    if not drawn:
        return Markup("")
    xs = [x for line in drawn for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    ys += [y for line in drawn for _, low, high in line.band or () for y in (low, high)]
    frame = _Frame(xs, ys, whole_x=True)
    parts = [frame.axes(x_label, y_label)]
    for number, line in enumerate(lines):
        color = f"var(--s{number % COLORS})"
        dash = DASHES[number % len(DASHES)]
        points = [(frame.x0, line.points[0][1]), (frame.x1, line.points[0][1])] if line.level else line.points
        if line.band:
            corners = [(x, high) for x, _, high in line.band] + [(x, low) for x, low, _ in reversed(line.band)]
            parts.append(Markup('<polygon points="{}" fill="{}" opacity=".15"/>').format(frame.path(corners), color))
        parts.append(
            Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="2" stroke-dasharray="{}"/>').format(
                frame.path(points), color, dash
            )
        )
        if not line.level:
            x, y = points[-1]
            parts.append(_marker(number, frame.px(x), frame.py(y), color))
    return _figure(parts, title, [(line.name, number) for number, line in enumerate(lines)])


def scatter_chart(points: Sequence[Point], *, title: str, x_label: str, y_label: str) -> Markup:
    """Points with intervals; those of (nearly) the same x stand side by side."""
    if not points:
        return Markup("")
    names = list(dict.fromkeys(point.name for point in points))
    ys = [y for point in points for y in (point.y, point.low, point.high) if y is not None]
    xs = [point.x for point in points]
    spread = max(max(xs) - min(xs), 0.1 * max(xs), 1e-12)
    frame = _Frame([min(xs) - 0.12 * spread, max(xs) + 0.12 * spread], ys)
    parts = [frame.axes(x_label, y_label)]
    # By pixels: what would cover each other is set apart.
    shifts = side_by_side([frame.px(x) for x in xs], near=12, widest=120)
    for point, shift in zip(points, shifts, strict=True):
        number = names.index(point.name)
        color = f"var(--s{number % COLORS})"
        x, y = frame.px(point.x) + shift, frame.py(point.y)
        if point.low is not None and point.high is not None:
            parts.append(
                Markup('<path d="M{0:.1f} {1:.1f}V{2:.1f}" stroke="{3}" stroke-width="2"/>').format(
                    x, frame.py(point.low), frame.py(point.high), color
                )
            )
        parts.append(
            _marker(number, x, y, color, hollow=point.hollow, title=f"{point.name}: {point.x:.4g}, {point.y:.1f}")
        )
    return _figure(parts, title, [(name, number) for number, name in enumerate(names)], lines=False)


def confusion_chart(counts: Sequence[tuple[int, int, int]], names: Sequence[str], *, title: str) -> Markup:
    """True classes in rows, predicted ones in columns; cells that are not empty, the darker the larger their share.

    Args:
        counts: (true class, predicted class, videos), videos at least 1.
        names: of the classes.
        title: for screen readers.
    """
    count = len(names)
    totals: dict[int, int] = {}
    for true, _, videos in counts:
        totals[true] = totals.get(true, 0) + videos
    labelled = count <= 30
    cell = min(34.0, 420 / count)
    margin = 34 + 8 * max(min(16, len(name)) for name in names) if labelled else 24
    size = margin + cell * count + 8
    parts = [
        Markup('<rect x="{0}" y="{0}" width="{1:.1f}" height="{1:.1f}" class="cell-ground"/>').format(
            margin, cell * count
        )
    ]
    for true, predicted, videos in counts:
        share = videos / totals[true]
        x, y = margin + predicted * cell, margin + true * cell
        kind = "hit" if true == predicted else "miss"
        parts.append(
            Markup(
                '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" class="{}" fill-opacity="{:.2f}">'
                "<title>{} taken for {}: {} of {}</title></rect>"
            ).format(x, y, cell, cell, kind, 0.12 + 0.88 * share, names[true], names[predicted], videos, totals[true])
        )
        if cell >= 20:
            parts.append(
                Markup('<text x="{:.1f}" y="{:.1f}" class="{}" text-anchor="middle">{}</text>').format(
                    x + cell / 2, y + cell / 2 + 4, "on-dark" if share > 0.45 else "on-light", videos
                )
            )
    if labelled:
        for number, name in enumerate(names):
            at = margin + cell * (number + 0.5)
            short = name if len(name) <= 16 else name[:15] + "…"
            parts.append(
                Markup(
                    '<text x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>'
                    '<text transform="translate({:.1f} {:.1f}) rotate(-60)">{}</text>'
                ).format(margin - 6, at + 4, short, at + 3, margin - 6, short)
            )
    words = Markup('<text x="4" y="14" class="axis">true ↓  predicted →</text>')
    body = Markup("").join([words, *parts])
    return Markup('<svg viewBox="0 0 {0:.0f} {0:.0f}" role="img" class="confusion"><title>{1}</title>{2}</svg>').format(
        size, title, body
    )


class _Frame:
    """From numbers to pixels."""

    def __init__(self, xs: Sequence[float], ys: Sequence[float], *, whole_x: bool = False) -> None:
        self.x0, self.x1 = min(xs), max(xs)
        if self.x0 == self.x1:
            self.x0, self.x1 = self.x0 - 1, self.x1 + 1
        low, high = min(ys), max(ys)
        room = 0.06 * (high - low) or 1.0
        self.y0, self.y1 = low - room, high + room
        self.whole_x = whole_x

    def px(self, x: float) -> float:
        return LEFT + (x - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def py(self, y: float) -> float:
        return HEIGHT - BOTTOM - (y - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.px(x):.1f},{self.py(y):.1f}" for x, y in points)

    def axes(self, x_label: str, y_label: str) -> Markup:
        parts = []
        for y in ticks(self.y0, self.y1):
            parts.append(
                Markup(
                    '<path d="M{} {:.1f}H{}" class="grid"/><text x="{}" y="{:.1f}" text-anchor="end">{}</text>'
                ).format(LEFT, self.py(y), WIDTH - RIGHT, LEFT - 6, self.py(y) + 4, f"{y:.6g}")
            )
        for x in ticks(self.x0, self.x1, whole=self.whole_x):
            parts.append(
                Markup(
                    '<path d="M{0:.1f} {1}v5" class="tick"/><text x="{0:.1f}" y="{2}" text-anchor="middle">{3}</text>'
                ).format(self.px(x), HEIGHT - BOTTOM, HEIGHT - BOTTOM + 18, f"{x:.6g}")
            )
        middle = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
        parts += [
            Markup('<path d="M{} {}H{}" class="tick"/>').format(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT),
            Markup('<text x="{}" y="{}" text-anchor="middle" class="axis">{}</text>').format(
                middle[0], HEIGHT - 8, x_label
            ),
            Markup('<text transform="translate(13 {}) rotate(-90)" text-anchor="middle" class="axis">{}</text>').format(
                middle[1], y_label
            ),
        ]
        return Markup("").join(parts)


def ticks(low: float, high: float, *, count: int = 5, whole: bool = False) -> list[float]:
    """About ``count`` round numbers in [low, high]; whole ones if asked for."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    if whole:
        step = max(1.0, round(step))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _marker(number: int, x: float, y: float, color: str, *, hollow: bool = False, title: str = "") -> Markup:
    """A point whose shape goes with the number of the series."""
    r = 5.5
    shapes = (
        f"M{-r} 0a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0",
        f"M{-r} {-r}h{2 * r}v{2 * r}h{-2 * r}z",
        f"M0 {-1.3 * r}L{1.3 * r} 0L0 {1.3 * r}L{-1.3 * r} 0z",
        f"M0 {-1.2 * r}L{1.2 * r} {r}H{-1.2 * r}z",
        f"M0 {1.2 * r}L{1.2 * r} {-r}H{-1.2 * r}z",
        f"M{-r} 0H{r}M0 {-r}V{r}",
        f"M{-r} {-r}L{r} {r}M{-r} {r}L{r} {-r}",
        f"M{-r} {-0.4 * r}h{2 * r}v{0.8 * r}h{-2 * r}z",
    )
    shape = shapes[(number + number // COLORS) % len(shapes)]
    inside = Markup("<title>{}</title>").format(title) if title else ""
    return Markup(
        '<path d="{}" transform="translate({:.1f} {:.1f})" fill="{}" stroke="{}" stroke-width="2">{}</path>'
    ).format(shape, x, y, "var(--ground)" if hollow else color, color, inside)


def _figure(parts: Sequence[Markup], title: str, legend: Sequence[tuple[str, int]], *, lines: bool = True) -> Markup:
    keys = []
    for name, number in legend:
        color = f"var(--s{number % COLORS})"
        stroke = (
            Markup('<path d="M0 8H30" stroke="{}" stroke-width="2" stroke-dasharray="{}"/>').format(
                color, DASHES[number % len(DASHES)]
            )
            if lines
            else ""
        )
        keys.append(
            Markup('<li><svg viewBox="0 0 30 16" width="30" height="16" aria-hidden="true">{}{}</svg>{}</li>').format(
                stroke, _marker(number, 15, 8, color), name
            )
        )
    return Markup(
        '<svg viewBox="0 0 {} {}" role="img" class="chart"><title>{}</title>{}</svg><ul class="legend">{}</ul>'
    ).format(WIDTH, HEIGHT, title, Markup("").join(parts), Markup("").join(keys))


def side_by_side(positions: Sequence[float], *, near: float, widest: float) -> list[float]:
    """Shifts that set points of the same position apart, in the order they come.

    Args:
        positions: of the points.
        near: points closer to the first of a group than this belong to it; also their distance afterwards, if there is
            room for it.
        widest: what a group may take up; it leaves half of the way to the next group free, too, so that it stays clear
            to which position a point belongs.
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
