"""The results table on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def print_results(results: Mapping[str, Any]) -> None:
    """Prints the rows of results.json, accuracies in percent, and the seconds per stage, on stdout."""
    # Wide enough for every column wherever it goes: a pipe would otherwise get 80 columns with words broken.
    console = Console(width=None if Console().is_terminal else 110, highlight=False)
    if results["rows"]:
        console.print(_table(results["rows"]))
    seconds = "  ".join(f"{stage} {value:.0f}" for stage, value in results["seconds"].items())
    if seconds:
        console.print(f"seconds per stage: {seconds}")


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="validation", title_justify="left")
    table.add_column("agent")
    skips = any(row["kept"] is not None for row in rows)
    names = ["after stage", "top-1 %", "mAP %", "GMACs/video", "of f_L", "ms/video", "videos"]
    for name in [*(("λ", "kept %") if skips else ()), *names]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row["agent"],
            *((_or_dash(row["lambda"], "g"), _or_dash(row["kept"], ".0%")) if skips else ()),
            str(row["after_stage"]),
            f"{100 * row['top1']:.1f}",
            f"{100 * row['map']:.1f}",
            f"{row['gmacs_per_video']:.4g}",
            f"{row['local_gmacs_per_video']:.4g}",
            _or_dash(row["ms_per_video"], ".1f"),
            str(row["videos"]),
        )
    return table


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else f"{value:{form}}".rstrip("%")
