"""The pictures of a comparison: accuracy against compute, and learning curves. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.report.charts import side_by_side
from adafocus_rl.files import replacing
from adafocus_rl.printable import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
"""Okabe and Ito 2008, which people with any kind of colour vision can tell apart; the palest comes last."""

MARKERS = "osD^vPX*"
"""Shapes say the same as colours, for print without colour."""

NEAR = 0.02
"""Share of the axis within which points count as of the same compute, and are drawn side by side."""

NAME, TITLE = 80, 120
"""Letters of a name and of a title, beyond which the middle is left out."""

WIDEST = 0.25
"""Share of the axis that they may take up."""


def require_matplotlib() -> None:
    """Refuses where matplotlib is missing.

    Raises:
        UserError: it is.
    """
    try:
        import matplotlib
    except ImportError:
        raise UserError(
            "matplotlib is not installed, so compare.png and curves.png are left out; "
            "`pip install 'adafocus_rl[report]'` brings it, and the same command then only draws"
        ) from None
    matplotlib.use("agg")


def style(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """(colour, marker) by name; both start over when they run out, at different places."""
    return {
        name: (COLOURS[number % len(COLOURS)], MARKERS[(number + number // len(COLOURS)) % len(MARKERS)])
        for number, name in enumerate(names)
    }


def plot_compute(path: Path, rows: Sequence[Mapping[str, Any]], *, title: str) -> None:
    """Top-1 against GMACs per video, with intervals; references are hollow, stage III has a thick rim.

    Args:
        path: the picture to write.
        rows: of compare.json.
        title: above it.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    looks = style(list(dict.fromkeys(row["agent"] for row in rows)))
    compute = np.array([row["gmacs_per_video"] for row in rows])
    span = max(float(np.ptp(compute)), 0.1 * float(compute.max()), 1e-12)
    shifts = side_by_side(list(compute), near=NEAR * span, widest=WIDEST * span)
    for row, shift in zip(rows, shifts, strict=True):
        colour, marker = looks[row["agent"]]
        middle, low, high = (100 * row[key] for key in ("top1_iqm", "top1_low", "top1_high"))
        note = " (reference)" if row["reference"] else ""
        axes.errorbar(
            row["gmacs_per_video"] + shift,
            middle,
            yerr=[[max(0.0, middle - low)], [max(0.0, high - middle)]],
            fmt=marker,
            color=colour,
            ecolor=colour,
            markersize=8,
            markerfacecolor="white" if row["reference"] else colour,
            markeredgecolor="black" if row["after_stage"] == 3 else colour,
            markeredgewidth=1.8 if row["after_stage"] == 3 or row["reference"] else 0.8,
            capsize=4,
            label=f"{_plain(row['agent'])}{note}{', after stage III' if row['after_stage'] == 3 else ''}",
        )
    axes.set_xlim(compute.min() - 0.15 * span, compute.max() + 0.15 * span)
    axes.set_xlabel("GMACs per video (points of equal compute stand side by side)")
    axes.set_ylabel("validation top-1, %")
    axes.set_title(_plain(title, TITLE), loc="left", fontsize=11)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    _save(figure, path)


def plot_curves(
    path: Path, curves: Mapping[str, Sequence[Mapping[str, Any]]], rows: Sequence[Mapping[str, Any]], *, title: str
) -> None:
    """Reward and validation top-1 per epoch: mean over seeds, with a band from the lowest to the highest.

    Args:
        path: the picture to write.
        curves: by variant that learns, one entry per seed.
        rows: of compare.json; those of agents that do not learn become dashed lines.
        title: above it.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    looks = style(list(dict.fromkeys(row["agent"] for row in rows)))
    for axes, key, factor in ((left, "reward", 1), (right, "top1", 100)):
        for name, lines in curves.items():
            epochs = sorted({epoch for line in lines for epoch in line["epoch"]})
            values = factor * np.array([_on(epochs, line["epoch"], line[key]) for line in lines])
            if np.isnan(values).all():
                continue
            colour, marker = looks[name]
            every, label = max(1, len(epochs) // 8), _plain(name)
            axes.plot(epochs, np.nanmean(values, 0), color=colour, marker=marker, markevery=every, ms=5, label=label)
            axes.fill_between(epochs, np.nanmin(values, 0), np.nanmax(values, 0), color=colour, alpha=0.15, lw=0)
        axes.set_xlabel("epoch of stage II")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    for row in rows:
        if row["agent"] not in curves and row["after_stage"] == 2:
            note = " (reference)" if row["reference"] else ""
            label = f"{_plain(row['agent'])}{note}"
            right.axhline(100 * row["top1_mean"], color=looks[row["agent"]][0], ls="--", lw=1.2, label=label)
    left.set_ylabel("reward of an episode, sampled actions")
    right.set_ylabel("validation top-1, %, best actions")
    left.set_title(_plain(title, TITLE), loc="left", fontsize=11)
    handles = {
        label: handle for axes in (left, right) for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(handles.values()), list(handles), loc="outside right upper", frameon=False, fontsize=9)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    """Whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")


def _plain(text: str, limit: int = NAME) -> str:
    """Text as matplotlib has to be given it: formulas stand between dollars, names with _ first are left out."""
    shown = printable(text, limit).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def _on(epochs: Sequence[int], own: Sequence[int], values: Sequence[float | None]) -> list[float]:
    """The values at these epochs; NaN where there is none."""
    at = {epoch: value for epoch, value in zip(own, values, strict=True) if value is not None}
    return [at.get(epoch, float("nan")) for epoch in epochs]
