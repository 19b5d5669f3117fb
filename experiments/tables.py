"""The results table on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def print_results(results: Mapping[str, Any]) -> None:
    """Prints the rows of results.json, accuracies in percent, and the seconds per stage, on stdout."""
    table = Table(title="validation", title_justify="left")
    table.add_column("agent")
    for name in ("after stage", "top-1 %", "mAP %", "GMACs/video", "of f_L", "ms/video", "videos"):
        table.add_column(name, justify="right")
    for row in results["rows"]:
        table.add_row(
            row["agent"],
            str(row["after_stage"]),
            f"{100 * row['top1']:.1f}",
            f"{100 * row['map']:.1f}",
            f"{row['gmacs_per_video']:.4g}",
            f"{row['local_gmacs_per_video']:.4g}",
            f"{row['ms_per_video']:.1f}",
            str(row["videos"]),
        )
    # Wide enough for every column wherever it goes: a pipe would otherwise get 80 columns with words broken.
    console = Console(width=None if Console().is_terminal else 110)
    console.print(table)
    seconds = "  ".join(f"{stage} {value:.0f}" for stage, value in results["seconds"].items())
    console.print(f"seconds per stage: {seconds}", highlight=False)
