"""The table of a comparison, the same on a terminal and on its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adafocus_rl.experiments.compare.summary import ComparedRow
from adafocus_rl.experiments.report.rows import share_of_gap
from adafocus_rl.experiments.report.table import GAP_NOTE, Cell, Column, Table, gap_column, number, text
from adafocus_rl.experiments.terminal.tables import print_plain

REFERENCE_NOTE = "* a reference: it sees true boxes or labels"
ONE_TRAINING = "†"
ONE_TRAINING_NOTE = f"{ONE_TRAINING} one training: the interval is over videos only and says nothing about other seeds"

COLUMNS: list[Column[ComparedRow]] = [
    Column(head="agent", cell=lambda row: text(row.agent + (" *" if row.reference else ""))),
    Column(head="variant", cell=lambda row: text(row.variant), optional=True),
    Column(head="knob", cell=lambda row: number(row.knob, "g"), optional=True),
    Column(head="kept %", cell=lambda row: number(row.kept, ".0f", 100), optional=True),
    Column(head="seeds", cell=lambda row: text("any") if row.trainings < row.seeds else number(row.seeds, "d")),
    Column(head="mean", cell=lambda row: number(row.top1, ".1f", 100)),
    Column(head="IQM", cell=lambda row: number(row.top1_iqm, ".1f", 100)),
    Column(head="95 % interval", cell=lambda row: _interval(row.top1_low, row.top1_high, ".1f", row.over_seeds)),
    Column(head="− first row", cell=lambda row: _difference(row)),
    Column(head="mAP %", cell=lambda row: number(row.map, ".1f", 100)),
    Column(head="reward", cell=lambda row: number(row.reward_mean, ".3f")),
    Column(head="GMACs/video", cell=lambda row: number(row.gmacs_per_video, ".4g")),
    Column(head="s/training", cell=lambda row: number(row.seconds, ".0f")),
]


def comparison_table(rows: Sequence[ComparedRow], runs: Sequence[str]) -> Table:
    """Return the rows of compare.json as a table, accuracies in percent; several runs have a column each.

    Args:
        rows: the rows of compare.json.
        runs: folders of the runs compared on.
    """
    each = [_of_run(place, run) for place, run in enumerate(runs)] if len(runs) > 1 else []
    columns = [*COLUMNS]
    columns.insert([column.head for column in columns].index("mAP %"), gap_column(rows))
    return Table.of([*columns, *each], rows)


def comparison_notes(rows: Sequence[ComparedRow]) -> list[str]:
    """Return sentences that explain the marks and columns that occur in ``comparison_table``."""
    notes = {
        REFERENCE_NOTE: any(row.reference for row in rows),
        ONE_TRAINING_NOTE: not all(row.over_seeds for row in rows),
        GAP_NOTE: any(share_of_gap(row, rows) is not None for row in rows),
    }
    return [note for note, needed in notes.items() if needed]


def interval_words(rows: Sequence[ComparedRow]) -> str:
    """Return the name of the intervals for the title of a picture, which tells whether they cover videos only."""
    if all(row.over_seeds for row in rows):
        return "95 % interval"
    return "95 % interval over videos only" + (
        ", where there is one training" if any(row.over_seeds for row in rows) else ""
    )


def print_comparison(content: Mapping[str, Any]) -> None:
    """Print the rows of compare.json on stdout."""
    rows = [ComparedRow.of(row) for row in content["rows"]]
    if not rows:
        return
    title = f"{content['title']}: validation top-1 %, {rows[0].videos} videos"
    comparison_table(rows, content["runs"]).print(title, width=170)
    for note in comparison_notes(rows):
        print_plain(note)


def _of_run(place: int, run: str) -> Column[ComparedRow]:
    return Column(head=f"mean of {Path(run).name}", cell=lambda row: number(row.top1_by_run[place], ".1f", 100))


def _interval(low: float, high: float, form: str, over_seeds: bool) -> Cell:
    mark = "" if over_seeds else f" {ONE_TRAINING}"
    return Cell(text=f"{100 * low:{form}} – {100 * high:{form}}{mark}", key=repr(100 * low))


def _difference(row: ComparedRow) -> Cell:
    """Return the difference to the first row; empty for the first row itself."""
    if row.difference == row.difference_low == row.difference_high == 0:
        return Cell(text="")
    interval = _interval(row.difference_low, row.difference_high, "+.1f", row.difference_over_seeds)
    return Cell(text=f"{100 * row.difference:+.1f} ({interval.text})", key=repr(100 * row.difference))
