"""Plots of a comparison, for its page and as pictures beside it: accuracy against compute, and learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adafocus_rl.experiments.compare.summary import ComparedRow
from adafocus_rl.experiments.compare.table import interval_words
from adafocus_rl.experiments.report.charts import write_png
from adafocus_rl.experiments.report.looks import REFERENCE
from adafocus_rl.experiments.report.plot import Line, Plot, Point, accuracy_and_compute
from adafocus_rl.experiments.report.rows import is_last
from adafocus_rl.record import RANDOM_PATCHES


def write_pictures(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``compare.png`` and ``curves.png``, each unless it would be empty.

    Args:
        folder: the folder of ``compare.json``.
        content: the content of that file.
    """
    title = f"{content['title']}: {content['seeds']} seed{'s' * (content['seeds'] > 1)}"
    if rows := [ComparedRow.of(row) for row in content["rows"]]:
        plot = compute_plot(rows)
        write_png(folder / "compare.png", [plot], title=f"{title}, interquartile mean, {interval_words(rows)}")
    if curves := [plot for plot in curve_plots(content) if not plot.empty]:
        write_png(folder / "curves.png", curves, title=f"{title}, mean and range")


def compute_plot(rows: Sequence[ComparedRow]) -> Plot:
    """Plot top-1 against GMACs per video, with intervals; an agent's last variant is filled, earlier ones hollow."""
    points = [
        Point(
            name=_name(row),
            x=row.gmacs_per_video,
            y=100 * row.top1_iqm,
            low=100 * row.top1_low,
            high=100 * row.top1_high,
            hollow=not is_last(row, rows),
            reference=row.reference,
        )
        for row in rows
    ]
    return accuracy_and_compute(points, series=[_name(row) for row in rows])


def curve_plots(content: Mapping[str, Any]) -> list[Plot]:
    """Plot reward and validation top-1 per epoch: mean over seeds, with a band from the lowest to the highest seed.

    Agents that do not learn are shown as constant levels of top-1.
    """
    rows, curves = [ComparedRow.of(row) for row in content["rows"]], content["curves"]
    names = {row.agent: _name(row) for row in rows}
    plots = []
    for heading, key, label, factor in (
        ("Reward of an episode, sampled actions", "reward", "reward", 1),
        ("Validation top-1, best actions", "top1", "top-1, %", 100),
    ):
        lines = [_line(names.get(name, name), seeds, key, factor) for name, seeds in curves.items()]
        if key == "top1":
            lines += [
                Line(name=_name(row), points=[(0, 100 * row.top1)], level=True, reference=row.reference)
                for row in rows
                if row.agent not in curves and row.variant == RANDOM_PATCHES
            ]
        plots.append(
            Plot(heading=heading, x_label="epoch of stage II", y_label=label, lines=lines, series=[*names.values()])
        )
    return plots


def _line(name: str, seeds: Sequence[Mapping[str, Any]], key: str, factor: int) -> Line:
    by_epoch: dict[int, list[float]] = {}
    for one in seeds:
        for epoch, value in zip(one["epoch"], one[key], strict=True):
            if value is not None:
                by_epoch.setdefault(epoch, []).append(factor * value)
    ordered = sorted(by_epoch.items())
    return Line(
        name=name,
        points=[(epoch, sum(values) / len(values)) for epoch, values in ordered],
        band=[(epoch, min(values), max(values)) for epoch, values in ordered],
    )


def _name(row: ComparedRow) -> str:
    return row.agent + REFERENCE if row.reference else row.agent
