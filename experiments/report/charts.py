"""Charts of curves over epochs, and of accuracy against compute, drawn with Matplotlib for pages and as PNG.

Colour, marker and dashes all distinguish the series, so that readers need not see every one of them.
"""

from __future__ import annotations

import logging
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adafocus_rl.experiments.report.curves import Curve, draw_curves, logarithmic
from adafocus_rl.experiments.report.spacing import side_by_side
from adafocus_rl.files import replacing
from adafocus_rl.printable import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = (
    *("#0072b2", "#b87500", "#007d5c", "#c24f00", "#a8487f", "#4a4a4a", "#2583b5", "#857700"),
    *("#c3143c", "#5b3fa8", "#7a4b2b", "#3f7d1f"),
)
"""Colours of series: first those of Okabe and Ito (2008), distinct for people with any kind of colour vision, darkened
for contrast on white; then four for charts with many series, in which markers help to tell them apart."""
INK, FAINT, RULE, GROUND = "#000000", "#595959", "#d0d0cc", "#ffffff"
"""Colours of text, of less important text, of grids, and of the background."""
DASHES: tuple[Any, ...] = tuple(
    (0, dashes)
    for dashes in (None, (3.5, 2), (1, 1.5), (4.5, 1.5, 1, 1.5), (7, 2), (2, 1), (7, 1.5, 1, 1.5, 1, 1.5), (0.5, 2.5))
)
"""Dashes of lines, in multiples of the line width."""
MARKERS = "osD^vPX*<>ph"
"""Markers of points."""

WIDTH, HEIGHT = 380, 240
"""Size of a chart without its legend, in points of a picture and pixels of a page, where three fit side by side."""
LARGE = (420, 320)
"""Width and height of a large chart without its legend."""
FONT, LEGEND_LINE = 13, 19
"""Font size and height of a line of the legend, in the same units."""
NAME, TITLE = 80, 120
"""Maximum number of characters of a name and of a title; of longer ones, the middle is left out."""
LEGEND_LETTERS, TITLE_LETTERS = 40, 48
"""Maximum number of characters in a line of the legend and of the title."""
ROUND = (1, 2, 5, 10)
"""Steps of axis ticks, times a power of ten."""
NEAR, WIDEST = 0.04, 0.4
"""Shares of the x axis: points closer than the first are drawn side by side, over at most the second."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A series over epochs."""

    name: str
    points: list[tuple[float, float]]
    band: list[tuple[float, float, float]] | None = None
    """(x, low, high) of a shaded band."""
    level: bool = False
    """Whether the series is a constant, drawn over the whole width."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A result in a scatter plot."""

    name: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    hollow: bool = False

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
    """Names whose order fixes the look of series, so that they look the same in all charts with the same ``series``."""
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
        x_label="GMACs per video (equal ones side by side)",
        y_label="top-1, %",
        points=points,
        series=series,
    )


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
    """Draw charts side by side, with one legend below; call it within ``drawing``.

    The artist of the point with the tooltip ``plot.tips[i]`` has the ``gid`` ``tip<i>``.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for plot in plots for name in plot.names))
    looks = list(dict.fromkeys(name for plot in plots for name in (*plot.series, *names)))
    labels = [textwrap.fill(legible(name), LEGEND_LETTERS) for name in names]
    short = max(map(len, labels)) <= LEGEND_LETTERS // 2 - 4
    columns = len(plots) * (2 if short else 1)
    rows = -(-len(labels) // columns) if short else sum(label.count("\n") + 1 for label in labels)
    above = textwrap.wrap(legible(title, TITLE), TITLE_LETTERS * len(plots))
    width, height = LARGE if any(plot.large for plot in plots) else (WIDTH, HEIGHT)
    height += LEGEND_LINE * (rows + len(above))
    figure = Figure(figsize=(width * len(plots) / 72, height / 72), layout="constrained")
    for axes, plot in zip(figure.subplots(1, len(plots), squeeze=False)[0], plots, strict=True):
        _draw_lines(axes, plot, looks)
        _draw_points(axes, plot, looks)
        draw_curves(
            axes,
            plot.curves,
            [_look(looks.index(curve.name)) for curve in plot.curves],
            tip=len(plot.points),
            ground=GROUND,
        )
        _dress(axes, plot)
        if len(plots) > 1:
            axes.set_title(plot.heading, color=FAINT)
    # Set the labels afterwards: Matplotlib leaves labels that begin with _ out of legends, and names may do so.
    keys = figure.legend(
        [_key(plots, name, looks.index(name)) for name in names],
        [" "] * len(names),
        loc="outside lower left", ncols=columns, frameon=False, handlelength=2.6,
    )  # fmt: skip
    for text, label in zip(keys.get_texts(), labels, strict=True):
        text.set_text(label)
    if above:
        figure.suptitle("\n".join(above), x=0.01, ha="left", fontsize=FONT + 1)
    return figure


def _look(number: int) -> tuple[str, str, Any]:
    """Return colour, marker and dashes of a series; after a full cycle of colours, the others are shifted by one."""
    turn = number // len(COLORS)
    return (
        COLORS[number % len(COLORS)],
        MARKERS[(number + turn) % len(MARKERS)],
        DASHES[(number + turn) % len(DASHES)],
    )


def _draw_lines(axes: Axes, plot: Plot, looks: Sequence[str]) -> None:
    for line in plot.lines:
        if not line.points:
            continue
        color, marker, dashes = _look(looks.index(line.name))
        if line.level:
            axes.axhline(line.points[0][1], color=color, linestyle=dashes, linewidth=2)
            continue
        xs, ys = zip(*line.points, strict=True)
        axes.plot(xs, ys, color=color, linestyle=dashes, linewidth=2, marker=marker, markevery=[-1], markersize=8)
        if line.band:
            at, low, high = zip(*line.band, strict=True)
            axes.fill_between(at, low, high, color=color, alpha=0.15, linewidth=0)


def _draw_points(axes: Axes, plot: Plot, looks: Sequence[str]) -> None:
    if not plot.points:
        return
    xs = [point.x for point in plot.points]
    spread = max(max(xs) - min(xs), 0.1 * max(xs), 1e-12)
    axes.set_xlim(min(xs) - 0.12 * spread, max(xs) + 0.12 * spread)
    # Shift points that would cover each other.
    shifts = side_by_side(xs, near=NEAR * spread, widest=WIDEST * spread)
    for number, (point, shift) in enumerate(zip(plot.points, shifts, strict=True)):
        color, marker, _ = _look(looks.index(point.name))
        inside = GROUND if point.hollow else color
        if point.low is not None and point.high is not None:
            axes.vlines(point.x + shift, point.low, point.high, color=color, linewidth=2)
        axes.plot(
            point.x + shift, point.y,
            color=color, marker=marker, markersize=10, markerfacecolor=inside, markeredgewidth=2, gid=f"tip{number}",
        )  # fmt: skip


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


def _key(plots: Sequence[Plot], name: str, number: int) -> Any:
    """Return the legend key of a series."""
    from matplotlib.lines import Line2D

    color, marker, dashes = _look(number)
    lines = [line for plot in plots for line in plot.lines if line.name == name]
    points = not lines or not all(line.level for line in lines)
    curves = [curve for plot in plots for curve in plot.curves if curve.name == name]
    hollow = any(curve.hollow for curve in curves)
    return Line2D(
        [], [],
        color=color, linestyle=dashes if lines else "solid" if curves else "none", linewidth=2,
        marker=marker if points else "none", markersize=8, markerfacecolor=GROUND if hollow else color,
    )  # fmt: skip


def legible(text: str, limit: int = NAME) -> str:
    """Return text as pictures can show it: printable, and without the two characters that XML does not allow."""
    return printable(text, limit).replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")
