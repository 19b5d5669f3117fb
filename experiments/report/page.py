"""Self-contained HTML page: no network access, no framework, readable from a ``file:`` address."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from torch import Tensor

from adafocus_rl.envs.render import heat_cells
from adafocus_rl.experiments.report.chart_svg import chart_svg
from adafocus_rl.experiments.report.confusion import confusion_chart
from adafocus_rl.experiments.report.plot import Plot
from adafocus_rl.experiments.report.shown import Panel, ShownVideo
from adafocus_rl.experiments.report.strips import BUDGET, encode_strips
from adafocus_rl.experiments.report.table import Table
from adafocus_rl.printable import printable
from adafocus_rl.record import EpisodeRecord, Trace

TEMPLATES = files("adafocus_rl.experiments.report") / "templates"
WORST = 8
"""Maximum number of most frequent mistakes listed."""


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """The confusion matrix of one agent."""

    title: str
    svg: Markup
    worst: list[tuple[str, str, int]]
    """(true class, predicted class, videos) of the most frequent mistakes, most videos first."""


@dataclass(frozen=True, kw_only=True)
class ChartGroup:
    """Charts with a heading of their own, and notes below it."""

    title: str
    notes: list[str]
    charts: list[Plot]


@dataclass(kw_only=True)
class PageContent:
    """Content of a page. Strings are plain text, which the template escapes."""

    title: str
    subtitle: str
    footer: str
    table: Table = field(default_factory=lambda: Table(heads=[], rows=[]))
    notes: list[str] = field(default_factory=list)
    charts: list[Plot] = field(default_factory=list)
    more_charts: list[ChartGroup] = field(default_factory=list)
    confusions: list[Confusion] = field(default_factory=list)
    charts_first: bool = False
    """Whether the first group of charts is above the table."""
    shows_videos: bool = True
    """Whether the page has a section for videos."""
    videos: list[ShownVideo] = field(default_factory=list)
    videos_note: str = ""
    failed: list[tuple[str, str]] = field(default_factory=list)

    @property
    def agents(self) -> list[str]:
        """Titles of the panels, the same for all videos."""
        return [panel.title for panel in self.videos[0].panels] if self.videos else []

    @property
    def has_boxes(self) -> bool:
        """Whether any video has a true box."""
        return any(not bool(video.true_boxes.isnan().all()) for video in self.videos)


def render_page(content: PageContent, *, budget: int = BUDGET) -> str:
    """Return the page as HTML.

    Args:
        content: content of the page.
        budget: maximum number of characters of all frames together.
    """
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    jinja = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = jinja.from_string((TEMPLATES / "report.html").read_text(encoding="utf-8"))
    page = template.render(
        content=content,
        table=content.table.leading("top-1", "IQM"),
        groups=[
            (group.title, group.notes, charts)
            for group in (
                ChartGroup(title="Curves and compute", notes=[], charts=content.charts),
                *content.more_charts,
            )
            if (charts := [(plot.heading, chart_svg(plot)) for plot in group.charts if not plot.empty])
        ],
        # Safe as markup: both come with the package.
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        data=page_data(content.videos, budget=budget),
    )
    # A name with a direction mark would reverse the text that follows it.
    return "\n".join(printable(line, None) for line in page.split("\n"))


def page_data(videos: Sequence[ShownVideo], *, budget: int = BUDGET) -> dict[str, Any]:
    """Return the data for the page's script.

    Args:
        videos: videos of the same T and S, each with the same agents.
        budget: maximum number of characters of all frames together.
    """
    names: dict[str, int] = {}
    side = int(videos[0].clip.shape[-1]) if videos else 1
    agents = [_agent(panel.title, [video.panels[number] for video in videos], side)
              for number, panel in enumerate(videos[0].panels)] if videos else []  # fmt: skip
    strips = encode_strips([video.clip for video in videos], budget=budget)
    entries = [
        {
            "row": video.row,
            "path": video.path,
            "classes": video.true_names,
            "strip": strip,
            "truth": [None if box.isnan().any() else [round(v, 2) for v in box.tolist()] for box in video.true_boxes],
            "panels": [_panel(panel, names) for panel in video.panels],
        }
        for video, strip in zip(videos, strips, strict=True)
    ]
    frames = len(videos[0].clip) if videos else 1
    return {"side": side, "frames": frames, "agents": agents, "names": list(names), "videos": entries}


def _agent(title: str, panels: Sequence[Panel], side: int) -> dict[str, Any]:
    """Return an agent's title, and the cells in which its probabilities are drawn."""
    known = next((panel for panel in panels if panel.probabilities is not None), None)
    if known is None or known.probabilities is None:
        return {"title": title, "cells": None}
    count = known.probabilities.shape[-1]
    cells = heat_cells(count, frame_size=side, patch_size=known.patch_size, scales=known.patch_scales)
    return {"title": title, "cells": [[round(value, 2) for value in cell] for cell in cells]}


def _panel(panel: Panel, names: dict[str, int]) -> dict[str, Any]:
    def rounded(values: list[float] | None) -> list[float] | None:
        return None if values is None else [round(value, 4) for value in values]

    return {
        "boxes": panel.boxes.tolist(),
        "kept": [int(kept) for kept in panel.kept],
        "notes": panel.notes,
        "looked": panel.looked,
        "says": [names.setdefault(name, len(names)) for name in panel.says],
        "confidence": rounded(panel.confidence),
        "truth": rounded(panel.true_confidence),
        "reward": rounded(panel.reward),
        "gmacs": float(f"{panel.gmacs:.6g}"),
        "right": panel.right,
        "heat": None if panel.probabilities is None else _shades(panel.probabilities),
    }


def _shades(probabilities: Tensor) -> str:
    """Return (T, A) probabilities as base64 of bytes, scaled to 255 for each frame's most likely position."""
    table = probabilities.numpy()
    shades = np.rint(255 * table / np.maximum(table.max(-1, keepdims=True), 1e-9)).astype(np.uint8)
    return base64.b64encode(shades.tobytes()).decode()


def confusion_of(record: EpisodeRecord, trace: Trace) -> Confusion:
    """Return the confusion matrix of a record's videos.

    If the prediction is one of a video's true classes, the video counts as that class, otherwise as its first.
    """
    first = record.multi_hot.int().argmax(1)
    truth = first.where(~record.right(trace), trace.last_predicted)
    counts = Counter(zip(truth.tolist(), trace.last_predicted.tolist(), strict=True))
    mistakes = [(videos, true, said) for (true, said), videos in counts.items() if true != said]
    names = record.class_names
    cells = sorted((true, said, videos) for (true, said), videos in counts.items())
    right = sum(videos for (true, said), videos in counts.items() if true == said)
    return Confusion(
        title=trace.title,
        svg=confusion_chart(cells, names, title=f"{trace.title}: {right} of {len(record)} videos right"),
        worst=[
            (names[true], names[said], videos)
            for videos, true, said in sorted(mistakes, key=lambda one: (-one[0], *one[1:]))[:WORST]
        ],
    )
