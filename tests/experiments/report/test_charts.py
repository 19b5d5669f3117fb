"""Charts: one drawing, as SVG in a page and as PNG; nothing of a user's matplotlib is touched or obeyed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from adafocus_rl.experiments.report import charts, looks
from adafocus_rl.experiments.report.chart_svg import VARIABLES, chart_svg
from adafocus_rl.experiments.report.charts import draw, drawing, write_png
from adafocus_rl.experiments.report.curves import Curve, Knot, needs_log
from adafocus_rl.experiments.report.plot import Line, Plot, Point, accuracy_and_compute
from adafocus_rl.printable import printable

TEMPLATES = Path(charts.__file__).parent / "templates"

LINES = Plot(
    heading="t & t",
    x_label="x",
    y_label="y",
    lines=[
        Line(name="<b>", points=[(1, 0.0), (3, 1.0)], band=[(1, -0.5, 0.5), (3, 0.5, 1.5)]),
        Line(name="none", points=[]),
        Line(name="level", points=[(0, 0.5)], level=True),
    ],
)
POINTS = Plot(
    heading="points",
    x_label="x",
    y_label="y",
    points=[Point(name="a", x=1, y=1, low=0, high=2), Point(name="a", x=2, y=1.25, hollow=True)],
)


def parsed(plot: Plot) -> ElementTree.Element:
    return ElementTree.fromstring(chart_svg(plot))


def variable(plot: Plot, name: str) -> str:
    """The page's variable with the colour of a series."""
    return f"var(--s{looks.COLORS.index(looks.looks(plot.names)[name][0])})"


def texts(root: ElementTree.Element, tag: str = "text") -> list[str]:
    return [part.text or "" for part in root.iter(tag)]


def test_a_chart_says_what_it_shows() -> None:
    root = parsed(LINES)
    assert (root.tag, root.get("role"), root.get("class")) == ("svg", "img", "chart")
    assert texts(root, "title") == ["t & t"]
    assert texts(root, "desc") == ["<b>; level"]
    assert texts(root)[-2:] == ["<b>", "level"]
    assert {"x", "y", "1", "2", "3"} <= {*texts(root)}
    assert "2.5" not in texts(root), "epochs are whole numbers"
    assert texts(parsed(POINTS), "title") == ["points", "a: 1, 1.0", "a: 2, 1.2"]
    assert texts(parsed(POINTS)).count("a") == 1


def test_nothing_to_draw() -> None:
    level = Line(name="a", points=[(0, 1)], level=True)
    for lines in ([], [Line(name="a", points=[])], [level]):
        assert chart_svg(Plot(heading="", x_label="", y_label="", lines=lines)) == ""


def test_points_lie_where_they_belong() -> None:
    """Straight from one corner of the data to the other; the higher value is higher up."""
    styles = {part: part.get("style", "") for part in parsed(LINES).iter("path")}
    (line,) = [
        part for part, style in styles.items() if "fill: none" in style and f"stroke: {variable(LINES, '<b>')}" in style
    ][:1]
    (x0, y0), (x1, y1) = re.findall(r"[ML] ([\d.]+) ([\d.]+)", line.get("d", ""))
    assert float(x0) < float(x1)
    assert float(y0) > float(y1)


def test_a_page_has_its_own_colours_and_fonts_and_no_name_twice() -> None:
    svgs = [chart_svg(plot) for plot in (LINES, POINTS)]
    for svg in svgs:
        assert "font-family" not in svg
        assert not re.findall(r"#[0-9a-f]{6}\b", svg), "a colour that does not follow the page"
        assert "<style" not in svg
        assert "xmlns" not in svg
        assert "metadata" not in svg
    names = [name for svg in svgs for name in re.findall(r' id="([^"]*)"', svg)]
    assert len(set(names)) == len(names) > 0
    used = {name for svg in svgs for name in re.findall(r'(?:href="|url\()#([^")]*)', svg)}
    assert used == set(names)
    assert svgs == [chart_svg(plot) for plot in (LINES, POINTS)]


def test_colours_are_those_of_light_pages() -> None:
    light = (TEMPLATES / "report.css").read_text(encoding="utf-8").split("@media")[0]
    assert [
        name for color, name in VARIABLES.items() if name != "--ink" and f"{name}: {color};" not in expanded(light)
    ] == []


def expanded(style: str) -> str:
    """Colours of three digits as those of six."""
    return re.sub(r"#([0-9a-f])([0-9a-f])([0-9a-f])\b", r"#\1\1\2\2\3\3", style)


def test_the_settings_of_a_user_are_neither_obeyed_nor_changed(tmp_path: Path) -> None:
    def drawn(name: str) -> tuple[str, bytes]:
        write_png(tmp_path / name, [LINES, POINTS], title="t")
        return chart_svg(LINES), (tmp_path / name).read_bytes()

    expected = drawn("a.png")
    with matplotlib.rc_context({"font.size": 40, "text.usetex": True, "svg.fonttype": "path", "axes.facecolor": "red"}):
        before = dict(matplotlib.rcParams)
        assert drawn("b.png") == expected
        assert dict(matplotlib.rcParams) == before


def test_drawing_costs_nothing_until_it_is_done_and_opens_no_windows() -> None:
    code = """
import sys
import adafocus_rl.experiments.cli.entry, adafocus_rl.experiments.compare.plots
from adafocus_rl.experiments.report.chart_svg import chart_svg
from adafocus_rl.experiments.report.charts import Plot, Point
assert "matplotlib" not in sys.modules
assert chart_svg(Plot(heading="a", x_label="x", y_label="y", points=[Point(name="a", x=0, y=0)]))
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


@pytest.mark.parametrize(
    "name", [r"$\frac$", "$a$", "_hidden", "\x1b[31m\udcff", "x" * 10_000, "\ufffe", "影片 λ", "a b " * 30]
)
def test_a_name_in_a_picture_is_text(tmp_path: Path, name: str) -> None:
    plot = Plot(
        heading="h", x_label="x", y_label="y", points=[Point(name=name, x=1, y=2), Point(name="other", x=1, y=2)]
    )
    shown = printable(name, 80).replace("\ufffe", "\ufffd")
    root = parsed(plot)
    assert texts(root, "desc") == [f"{shown}; other"]
    assert shown.replace(" ", "") in "".join(texts(root)).replace(" ", "")
    assert "other" in texts(root)
    with drawing():
        figure = draw([plot], title=name)
    # A long name is shortened beside its point, so that there is a legend.
    named = figure.legends[0].get_texts() if figure.legends else figure.axes[0].texts
    assert len(figure.legends) == (len(shown) > charts.LABEL)
    assert "".join(shown.split()) in ["".join(text.get_text().split()) for text in named]
    write_png(tmp_path / "a.png", [plot], title=name)
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    for color, _, _ in looks.looks(plot.names).values():
        assert (pixels == [int(color[at : at + 2], 16) for at in (1, 3, 5)]).all(1).sum() > 20, "nothing is pushed out"


def test_a_series_looks_the_same_in_all_charts_whatever_the_order() -> None:
    assert len({looks.look(number) for number in range(64)}) == 64
    names = [
        "ppo",
        "random",
        "center",
        "gaussian",
        "oracle (reference)",
        "full_frame",
        "ppo:gamma=0.5",
        "ppo:gamma=0.9",
    ]
    found = looks.looks(names)
    assert found == looks.looks(reversed(names))
    assert len({color for color, _, _ in found.values()}) == len(names)
    # Known names keep their colour whatever else is shown; others unless it is taken.
    for some in (names[:1], names[2:5], ["ppo", "zeta", "alpha"]):
        assert {name: look for name, look in looks.looks(some).items() if ":" not in name and name in found} == {
            name: found[name] for name in some if name in found
        }
    many = [f"agent {number}" for number in range(40)]
    assert len({*looks.looks(many).values()}) == 40


def _accuracy(*points: Point) -> tuple[Any, Plot]:
    plot = accuracy_and_compute(points)
    with drawing():
        return draw([plot]), plot


EQUAL = [Point(name=f"agent {number}", x=0.346, y=50 + number, low=45, high=62) for number in range(8)]


def test_points_stand_at_their_compute() -> None:
    figure, _ = _accuracy(*EQUAL, Point(name="full", x=1.2, y=58))
    (axes,) = figure.axes
    found = {line.get_gid(): line.get_xydata()[0].tolist() for line in axes.lines if line.get_gid()}
    assert found == {**{f"tip{number}": [0.346, 50 + number] for number in range(8)}, "tip8": [1.2, 58]}


def test_names_of_points_cover_nothing() -> None:
    figure, plot = _accuracy(*EQUAL, Point(name="full", x=1.2, y=58))
    (axes,) = figure.axes
    names = [text for text in axes.texts if text.get_text()]
    assert {text.get_text() for text in names} == {*plot.names}
    assert figure.legends == [], "all points have their names"
    boxes = [text.get_window_extent() for text in names]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        assert axes.bbox.x0 <= box.x0 <= box.x1 <= axes.bbox.x1
        assert not any(box.contains(*axes.transData.transform((point.x, point.y))) for point in plot.points)
    # Names without room are in a legend.
    crowd = [Point(name=f"agent {number}", x=1, y=50) for number in range(60)]
    figure, _ = _accuracy(*crowd)
    assert len(figure.legends[0].get_texts()) == 60


def test_a_bound_far_away_does_not_squash_the_others() -> None:
    bound = Point(name="best_patch", x=2.9, y=98.9, low=98, high=99, reference=True)
    near = Point(name="oracle", x=0.346, y=61, reference=True)
    figure, _ = _accuracy(*EQUAL, near, bound)
    (axes,) = figure.axes
    assert axes.get_ylim()[1] < 70
    assert axes.get_xlim()[1] < 0.5
    texts = {text.get_text() for text in axes.texts}
    assert {"oracle", "best_patch: 98.9 at 2.9 ↗"} <= texts
    # So does a level among lines; without other results, bounds are all there is.
    curve = Line(name="ppo", points=[(1, 50.0), (2, 55.0)])
    level = Line(name="best_patch", points=[(0, 98.9)], level=True, reference=True)
    with drawing():
        (axes,) = draw([Plot(heading="h", x_label="x", y_label="y", lines=[curve, level])]).axes
    assert axes.get_ylim()[1] < 60
    assert [text.get_text() for text in axes.texts] == ["best_patch: 98.9 ↑"]
    figure, _ = _accuracy(bound)
    assert [text.get_text() for text in figure.axes[0].texts if text.get_text()] == ["best_patch"]


def test_curves_share_the_colour_of_their_name_and_have_tooltips_and_a_logarithmic_axis() -> None:
    def curve(height: float, *, dashed: bool = False, hollow: bool = False, name: str = "system") -> Curve:
        knots = [Knot(x=x, y=height, low=height - 1, high=height + 1, tip=f"{name} {x} {height}") for x in (1, 20)]
        return Curve(name=name, knots=knots, dashed=dashed, hollow=hollow)

    curves = [curve(1, dashed=True), curve(2), curve(3, hollow=True, name="<other>")]
    plot = Plot(heading="c", x_label="x", y_label="y", curves=curves, log_x=needs_log([1, 20]), large=True)
    root = parsed(plot)
    assert not plot.empty
    assert plot.names == ["system", "<other>"]
    assert texts(root, "title") == ["c", *plot.tips]
    assert texts(root)[-2:] == ["system", "<other>"]
    assert {"1", "2", "5", "10", "20"} <= {*texts(root)}
    styles = [part.get("style", "") for part in root.iter("path")]
    (dashed,) = [style for style in styles if "stroke-dasharray: 4.55" in style]
    assert f"stroke: {variable(plot, 'system')}" in dashed
    filled = [part.get("style", "") for part in root.iter("use") if "fill: var(--ground)" in part.get("style", "")]
    assert all(f"stroke: {variable(plot, '<other>')}" in style for style in filled)
    assert len(filled) == 2
    assert not needs_log([1, 10])
    assert not needs_log([0, 10])
    assert not needs_log([])
