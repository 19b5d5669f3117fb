"""The comparison on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adafocus_rl.experiments.terminal.tables import PlainTable, print_plain


def print_comparison(content: Mapping[str, Any]) -> None:
    """Prints the rows of compare.json on stdout, accuracies in percent."""
    rows = content["rows"]
    if not rows:
        return
    table = PlainTable(f"{content['title']}: validation top-1 %, {rows[0]['videos']} videos")
    table.column("agent", right=False)
    stages = {row["after_stage"] for row in rows}
    names = ["seeds", "mean", "IQM", "95 % interval", "− first row", "mAP %", "reward", "GMACs/video", "s/training"]
    several = len(content["runs"]) > 1
    table.column(*(["after stage"] * (len(stages) > 1)), *names, *(["mean of each run"] * several))
    for row in rows:
        first = next(other for other in rows if other["after_stage"] == row["after_stage"])
        table.row(
            row["agent"] + (" *" if row["reference"] else ""),
            *([str(row["after_stage"])] if len(stages) > 1 else []),
            "any" if row["trainings"] < row["seeds"] else str(row["seeds"]),
            f"{100 * row['top1_mean']:.1f}",
            f"{100 * row['top1_iqm']:.1f}",
            f"{100 * row['top1_low']:.1f} – {100 * row['top1_high']:.1f}",
            "" if row is first else _difference(row),
            f"{100 * row['map_mean']:.1f}",
            "" if row["reward_mean"] is None else f"{row['reward_mean']:.3f}",
            f"{row['gmacs_per_video']:.4g}",
            "" if row["seconds"] is None else f"{row['seconds']:.0f}",
            *([" ".join(f"{100 * mean:.1f}" for mean in row["top1_by_run"])] if several else []),
        )
    table.print(160)
    if any(row["reference"] for row in rows):
        print_plain("* a reference: it sees true boxes or labels")


def _difference(row: Mapping[str, Any]) -> str:
    low, high = 100 * row["difference_low"], 100 * row["difference_high"]
    return f"{100 * row['difference']:+.1f} ({low:+.1f} – {high:+.1f})"
