"""Charts of curves over epochs, and of accuracy against compute, drawn with Matplotlib for pages and as PNG.

Colour, marker and dashes all distinguish the series, so that readers need not see every one of them.
"""

from __future__ import annotations

import logging
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adafocus_rl.experiments.report.curves import along, draw_curves, logarithmic, upright
from adafocus_rl.experiments.report.labels import SIZE, Label, place_labels
from adafocus_rl.experiments.report.limits import arrow, limits
from adafocus_rl.experiments.report.looks import Look, looks
from adafocus_rl.experiments.report.plot import Line, Plot, Point, legible
from adafocus_rl.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, RULE, GROUND = "#000000", "#595959", "#d0d0cc", "#ffffff"
"""Colours of text, of less important text, of grids, and of the background."""
WIDTH, HEIGHT = 380, 240
"""Size of a chart without its legend, in points of a picture and pixels of a page, where three fit side by side."""
LARGE = (420, 320)
"""Width and height of a large chart without its legend."""
FONT, LEGEND_LINE = 13, 19
"""Font size and height of a line of the legend, in the same units."""
TITLE = 120
"""Maximum number of characters of a title; of a longer one, the middle is left out."""
LABEL = 36
"""Maximum number of characters of a name beside a point."""
LEGEND_LETTERS, TITLE_LETTERS = 40, 48
"""Maximum number of characters in a line of the legend and of the title."""
ROUND = (1, 2, 5, 10)
"""Steps of axis ticks, times a power of ten."""


def write_png(path: Path, plots: Sequence[Plot], *, title: str) -> None:
    """Write charts side by side to a PNG file, with one legend; the file is replaced only once it is complete.

    Args:
        path: the picture to write.
        plots: the charts; none may be empty.
        title: title above them.
    """
    with drawing(), replacing(path) as temporary:
        draw(plots, title=title).savefig(temporary, dpi=170, format="png")


@contextmanager
def drawing(settings: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Draw with our Matplotlib settings within the block, and restore the user's afterwards.

    Args:
        settings: further entries of Matplotlib's ``rcParams``.
    """
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)  # hide messages about the font cache
    try:
        import matplotlib

        with matplotlib.rc_context(), warnings.catch_warnings():
            # Characters missing from Matplotlib's font: a page uses other fonts, and a picture shows a box.
            warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
            matplotlib.rcdefaults()
            # Names may contain dollar signs, between which Matplotlib would parse a formula.
            ours: Any = {"text.parse_math": False, "font.size": FONT, "legend.fontsize": FONT, "axes.titlesize": FONT}
            ours.update(settings or {})
            matplotlib.rcParams.update(ours)
            yield
    finally:
        log.setLevel(level)


def draw(plots: Sequence[Plot], *, title: str = "") -> Figure:
    """Draw charts side by side; call it within ``drawing``.

    Points and curves have their names beside them. A legend below is added if there are lines, or names without room.
    The artist of the point with the tooltip ``plot.tips[i]`` has the ``gid`` ``tip<i>``.
    """
    has_lines = any(plot.lines for plot in plots)
    figure, complete = _draw(plots, title, legend=has_lines)
    return figure if has_lines or complete else _draw(plots, title, legend=True)[0]


def _draw(plots: Sequence[Plot], title: str, *, legend: bool) -> tuple[Figure, bool]:
    """Draw charts, and return whether all points and curves are named in full."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for plot in plots for name in plot.names))
    look_of = looks(name for plot in plots for name in (*plot.series, *names))
    labels = [textwrap.fill(legible(name), LEGEND_LETTERS) for name in names]
    short = max(map(len, labels)) <= LEGEND_LETTERS // 2 - 4
    columns = len(plots) * (2 if short else 1)
    rows = -(-len(labels) // columns) if short else sum(label.count("\n") + 1 for label in labels)
    above = textwrap.wrap(legible(title, TITLE), TITLE_LETTERS * len(plots))
    width, height = LARGE if any(plot.large for plot in plots) else (WIDTH, HEIGHT)
    height += LEGEND_LINE * (rows * legend + len(above))
    figure = Figure(figsize=(width * len(plots) / 72, height / 72), layout="constrained")
    every_axes = figure.subplots(1, len(plots), squeeze=False)[0]
    for axes, plot in zip(every_axes, plots, strict=True):
        _draw_lines(axes, plot, look_of)
        _draw_points(axes, plot, look_of)
        draw_curves(
            axes, plot.curves, [look_of[curve.name] for curve in plot.curves], tip=len(plot.points), ground=GROUND
        )
        _dress(axes, plot)
        if len(plots) > 1:
            axes.set_title(plot.heading, color=FAINT)
    if legend:
        # Set the labels afterwards: Matplotlib leaves labels that begin with _ out of legends, and names may do so.
        keys = figure.legend(
            [_key(plots, name, look_of[name]) for name in names],
            [" "] * len(names),
            loc="outside lower left", ncols=columns, frameon=False, handlelength=2.6,
        )  # fmt: skip
        for text, label in zip(keys.get_texts(), labels, strict=True):
            text.set_text(label)
    if above:
        figure.suptitle("\n".join(above), x=0.01, ha="left", fontsize=FONT + 1)
    figure.draw_without_rendering()  # the labels need the final layout
    figure.set_layout_engine("none")
    named = [_name_points(axes, plot, look_of) for axes, plot in zip(every_axes, plots, strict=True)]
    return figure, all(named)


def _draw_lines(axes: Axes, plot: Plot, look_of: Mapping[str, Look]) -> None:
    results = [y for line in plot.lines if not line.reference for y in _heights(line)]
    far = []
    for line in plot.lines:
        if not line.points:
            continue
        color, marker, dashes = look_of[line.name]
        if line.level:
            height = line.points[0][1]
            low, high = limits(results, [height], least=0)
            if line.reference and not low <= height <= high:
                far.append((f"{legible(line.name, LABEL)}: {height:.1f} {'↑' if height > high else '↓'}", color))
            else:
                axes.axhline(height, color=color, linestyle=dashes, linewidth=2)
            continue
        xs, ys = zip(*line.points, strict=True)
        axes.plot(xs, ys, color=color, linestyle=dashes, linewidth=2, marker=marker, markevery=[-1], markersize=8)
        if line.band:
            at, low_band, high_band = zip(*line.band, strict=True)
            axes.fill_between(at, low_band, high_band, color=color, alpha=0.15, linewidth=0)
    for number, (text, color) in enumerate(far):
        axes.annotate(
            text, (1, 1), (-2, -2 - number * (SIZE + 4)), xycoords="axes fraction", textcoords="offset points",
            ha="right", va="top", color=color, fontsize=SIZE, bbox={"facecolor": GROUND, "edgecolor": "none", "pad": 1},
        )  # fmt: skip


def _heights(line: Line) -> list[float]:
    return [*(y for _, y in line.points), *(y for _, *ends in line.band or () for y in ends)]


def _draw_points(axes: Axes, plot: Plot, look_of: Mapping[str, Look]) -> None:
    if not plot.points:
        return
    _set_limits(axes, plot.points)
    for number, point in enumerate(plot.points):
        color, marker, _ = look_of[point.name]
        x, y = _shown(axes, point)
        if (x, y) == (point.x, point.y) and point.low is not None and point.high is not None:
            axes.vlines(x, point.low, point.high, color=color, linewidth=2, alpha=0.6)
        axes.plot(
            x, y,
            color=color, marker=marker, markersize=9, markerfacecolor=GROUND if point.hollow else color,
            markeredgewidth=1.5, gid=f"tip{number}", clip_on=False,
        )  # fmt: skip


def _set_limits(axes: Axes, points: Sequence[Point]) -> None:
    """Set the limits of both axes, with room for names."""
    split = [[point for point in points if point.reference is reference] for reference in (False, True)]
    xs, far_xs = ([point.x for point in some] for some in split)
    ys, far_ys = ([y for point in some for y in (point.low, point.y, point.high) if y is not None] for some in split)
    low, high = limits(xs, far_xs, least=max(0.1 * max(abs(x) for x in xs or far_xs), 1e-12))
    axes.set_xlim(low - 0.2 * (high - low), high + 0.2 * (high - low))
    low, high = limits(ys, far_ys, least=1)
    axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))


def _shown(axes: Axes, point: Point) -> tuple[float, float]:
    """Return where a point is drawn: at its place, or at the edge of the axes next to it."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    return float(min(max(point.x, left), right)), float(min(max(point.y, bottom), top))


def _name_points(axes: Axes, plot: Plot, look_of: Mapping[str, Look]) -> bool:
    """Write the names of points and curves beside them, and return whether all fitted in full."""
    shown = [_shown(axes, point) for point in plot.points]
    last = {point.name: number for number, point in enumerate(plot.points) if not point.hollow}
    last = {**{point.name: number for number, point in enumerate(plot.points)}, **last}
    labels = []
    for name, number in last.items():
        point, (x, y) = plot.points[number], shown[number]
        text = legible(name, LABEL)
        if edge := arrow(point.x, point.y, x, y):
            far_x, far_y = f"at {point.x:.3g} " * (x != point.x), f"{point.y:.1f} " * (y != point.y)
            text += f": {far_y}{far_x}{edge}"
        labels.append(Label(x=x, y=y, text=text, color=look_of[name][0]))
    ends = {curve.name: curve.knots[-1] for curve in plot.curves if curve.knots and not curve.dashed}
    labels += [
        Label(x=knot.x, y=knot.y, text=legible(name, LABEL), color=look_of[name][0]) for name, knot in ends.items()
    ]
    left_out = place_labels(
        axes,
        labels,
        points=[*shown, *((knot.x, knot.y) for curve in plot.curves for knot in curve.knots)],
        lines=[
            *(place for point in plot.points for place in upright(point.x, point.low, point.high)),
            *(place for curve in plot.curves for place in along(curve, log_x=plot.log_x)),
        ],
        faint=FAINT,
    )
    return not left_out and all(legible(name, LABEL) == legible(name) for name in (*last, *ends))


def _dress(axes: Axes, plot: Plot) -> None:
    """Set labels, ticks and grid, and hide the frame except the x axis."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(plot.x_label, color=FAINT)
    axes.set_ylabel(plot.y_label, color=FAINT)
    if plot.log_x:
        logarithmic(axes)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=ROUND, integer=bool(plot.lines)))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=ROUND))
    axes.margins(y=0.06)
    axes.grid(axis="y", color=RULE, linewidth=1)
    axes.set_axisbelow(True)
    axes.spines[["left", "top", "right"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", color=FAINT, labelcolor=INK)


def _key(plots: Sequence[Plot], name: str, look: Look) -> Any:
    """Return the legend key of a series."""
    from matplotlib.lines import Line2D

    color, marker, dashes = look
    lines = [line for plot in plots for line in plot.lines if line.name == name]
    points = not lines or not all(line.level for line in lines)
    curves = [curve for plot in plots for curve in plot.curves if curve.name == name]
    hollow = any(curve.hollow for curve in curves)
    return Line2D(
        [], [],
        color=color, linestyle=dashes if lines else "solid" if curves else "none", linewidth=2,
        marker=marker if points else "none", markersize=8, markerfacecolor=GROUND if hollow else color,
    )  # fmt: skip
