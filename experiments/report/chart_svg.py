"""Charts as inline SVG: colours are variables of the page's style sheet, text stays text, points have tooltips.

Matplotlib writes a separate document with its own colours, fonts and style sheet. Within a page, these would not follow
its light and dark styles, and element ids would clash with those of other charts.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from xml.etree import ElementTree

from markupsafe import Markup

from adafocus_rl.experiments.report.charts import FAINT, GROUND, INK, RULE, draw, drawing
from adafocus_rl.experiments.report.looks import COLORS
from adafocus_rl.experiments.report.plot import Plot, legible

VARIABLES = {
    INK: "--ink", FAINT: "--faint", RULE: "--rule", GROUND: "--ground",
    **{color: f"--s{number}" for number, color in enumerate(COLORS)},
}  # fmt: skip
"""Variables of the style sheet, by their colour in the light style."""


def chart_svg(plot: Plot) -> Markup:
    """Return a chart as inline SVG for a page; empty if the plot is empty."""
    if plot.empty:
        return Markup("")
    written = io.BytesIO()
    # Derive element ids from the heading, so that they are unique in a page, and equal pages are equal files.
    with drawing({"svg.fonttype": "none", "svg.hashsalt": legible(plot.heading)}):
        figure = draw([plot])
        for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
            patch.set_visible(False)
        figure.savefig(written, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(written.getvalue())
    _clean(root)
    _add_tips(root, plot)
    _name(root, "desc", "; ".join(map(legible, plot.names)))
    _name(root, "title", legible(plot.heading))
    size = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update({"viewBox": size, "role": "img", "class": "chart"})
    # Safe as markup: matplotlib and ElementTree have escaped all text.
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _clean(root: ElementTree.Element) -> None:
    """Remove namespaces, metadata, style elements, fonts and unused ids, and replace colours by variables."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    for part in root.iter():
        part.text, part.tail = (text if text and text.strip() else None for text in (part.text, part.tail))
        part.tag = part.tag.rpartition("}")[2]
        attributes = {name.rpartition("}")[2]: value for name, value in part.attrib.items()}
        if "style" in attributes:
            attributes["style"] = "; ".join(_declarations(attributes["style"]))
        part.attrib.clear()
        part.attrib.update(attributes)
    used = {name for part in root.iter() for value in part.attrib.values() for name in re.findall(r"#([\w-]+)", value)}
    for part in root.iter():
        if part.get("id") not in used and not part.get("id", "").startswith("tip"):
            part.attrib.pop("id", None)


def _declarations(style: str) -> Iterator[str]:
    """Yield the declarations of a style, font families left out and colours replaced by the page's variables."""
    for declaration in style.split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name.startswith("font"):
            if size := re.search(r"[\d.]+px", value):
                yield f"font-size: {size[0]}"
        elif name:
            yield f"{name}: var({VARIABLES[value]})" if value in VARIABLES else f"{name}: {value}"


def _add_tips(root: ElementTree.Element, plot: Plot) -> None:
    """Add a tooltip to each point."""
    for part in root.iter():
        if (name := part.get("id", "")).startswith("tip"):
            del part.attrib["id"]
            _name(part, "title", legible(plot.tips[int(name.removeprefix("tip"))]))


def _name(part: ElementTree.Element, tag: str, text: str) -> None:
    title = ElementTree.Element(tag)
    title.text = text
    part.insert(0, title)
