"""Tables of results, with their columns and cells, for terminals and pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from adafocus_rl.experiments.report.rows import Row, share_of_gap
from adafocus_rl.experiments.terminal.tables import PlainTable

R = TypeVar("R", bound=Row)

MISSING = "–"
"""Text of a cell without a value."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a table."""

    text: str
    key: str = ""
    """Sort key: a number; empty to sort by the text."""


@dataclass(frozen=True, kw_only=True)
class Column(Generic[R]):
    """A column of a table of rows."""

    head: str
    cell: Callable[[R], Cell]
    optional: bool = False
    """Whether the column is left out if no row has a value."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Column heads and rows of cells; the first column names the row."""

    heads: list[str]
    rows: list[list[Cell]]

    @classmethod
    def of(cls, columns: Sequence[Column[R]], rows: Sequence[R]) -> Table:
        """Create the table of rows, without optional columns that have no values."""
        # No dictionary by head: heads may be equal, such as those of two runs.
        cells = [(column, [column.cell(row) for row in rows]) for column in columns]
        shown = [
            (column.head, entries)
            for column, entries in cells
            if not column.optional or any(cell.text not in ("", MISSING) for cell in entries)
        ]
        return cls(
            heads=[head for head, _ in shown],
            rows=[[entries[place] for _, entries in shown] for place in range(len(rows))],
        )

    def leading(self, *heads: str) -> Table:
        """Return the table with the first column whose head begins with one of these right after the rows' names.

        On a narrow screen, only the first columns can be seen.
        """
        place = next((place for place, name in enumerate(self.heads) if place and name.startswith(heads)), None)
        if place is None:
            return self
        order = [0, place, *(other for other in range(1, len(self.heads)) if other != place)]
        return Table(
            heads=[self.heads[other] for other in order], rows=[[row[other] for other in order] for row in self.rows]
        )

    def print(self, title: str, *, width: int = 110) -> None:
        """Print the table to stdout.

        Args:
            title: title above the table.
            width: width in columns if stdout is not a terminal.
        """
        table = PlainTable(title)
        table.column(self.heads[0], right=False)
        table.column(*self.heads[1:])
        for row in self.rows:
            table.row(*(cell.text for cell in row))
        table.print(width)


def text(value: str | None) -> Cell:
    """Return a cell with a text, or a dash for None."""
    return Cell(text=MISSING if value is None else value)


def number(value: float | None, form: str, factor: int = 1) -> Cell:
    """Return a cell with a number in a format, multiplied by a factor, or a dash for None."""
    return Cell(text=MISSING) if value is None else Cell(text=f"{factor * value:{form}}", key=repr(factor * value))


def time_cell(row: Row) -> Cell:
    """Return a cell with the median milliseconds per video and, in brackets, their quartiles."""
    if row.ms_per_video is None:
        return Cell(text=MISSING)
    spread = "" if row.ms_q1 is None or row.ms_q3 is None else f" ({row.ms_q1:.1f}–{row.ms_q3:.1f})"
    return Cell(text=f"{row.ms_per_video:.1f}{spread}", key=repr(row.ms_per_video))


def time_note(decode_ms: float | None) -> str:
    """Return the sentences that explain the times.

    Args:
        decode_ms: milliseconds to decode a clip; None if they were not measured.
    """
    took = "" if decode_ms is None else f"; it took {decode_ms:.1f} ms per clip in one process"
    return (
        "ms/video: median and quartiles of the time from decoded frames to the prediction, one video at a time, the "
        f"rows in turns on the same clips. Decoding is not included{took}. GMACs are counted, times are measured: "
        "fewer GMACs are not always less time."
    )


def _top1(row: Row) -> Cell:
    return Cell(text=f"{100 * row.top1:.1f} ± {100 * row.top1_standard_error:.1f}", key=repr(100 * row.top1))


def gap_column(rows: Sequence[R]) -> Column[R]:
    """Return the column with each row's ``share_of_gap``."""
    return Column(head="gap %", cell=lambda row: number(share_of_gap(row, rows), ".0f", 100), optional=True)


ERROR_NOTE = "±: standard error of top-1 over the videos; the variation of trainings is not included."
GAP_NOTE = (
    "gap %: position of top-1 between random patches (0) and the best reference with labels or true boxes (100), of "
    "the same variant."
)

RESULT_COLUMNS: list[Column[Row]] = [
    Column(head="agent", cell=lambda row: text(row.agent)),
    Column(head="variant", cell=lambda row: text(row.variant), optional=True),
    Column(head="knob", cell=lambda row: number(row.knob, "g"), optional=True),
    Column(head="kept %", cell=lambda row: number(row.kept, ".0f", 100), optional=True),
    Column(head="top-1 %", cell=_top1),
    Column(head="mAP %", cell=lambda row: number(row.map, ".1f", 100)),
    Column(head="GMACs", cell=lambda row: number(row.gmacs_per_video, ".4g")),
    Column(head="of f_L", cell=lambda row: number(row.local_gmacs_per_video, ".3g")),
    Column(head="ms/video", cell=time_cell),
]
"""Columns of a run's results."""


def result_table(rows: Sequence[Row]) -> Table:
    """Return the table of a run's results."""
    columns = [*RESULT_COLUMNS]
    columns.insert([column.head for column in columns].index("mAP %"), gap_column(rows))
    return Table.of(columns, rows)


def result_notes(rows: Sequence[Row], decode_ms: float | None = None) -> list[str]:
    """Return sentences that explain the columns of ``result_table``; ``decode_ms`` as in ``time_note``."""
    has_gap = any(share_of_gap(row, rows) is not None for row in rows)
    timed = any(row.ms_per_video is not None for row in rows)
    return [ERROR_NOTE, *([GAP_NOTE] if has_gap else []), *([time_note(decode_ms)] if timed else [])]
