"""Plain-text tables for terminals of any width."""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from adafocus_rl.experiments.terminal.streams import spelled
from adafocus_rl.printable import printable

NARROWEST = 20
"""Minimum width in columns, used if a terminal reports fewer (``COLUMNS=0``)."""

LONG_WORD = 24
"""Number of characters above which a word may be broken."""

CELL = 200
"""Maximum number of characters of a cell."""


def plain(text: str, limit: int = 1000, *, encoding: str | None = None) -> Text:
    """Return text that rich prints without interpreting markup, emoji, numbers or links; see ``printable``.

    Args:
        text: any text.
        limit: maximum number of characters.
        encoding: encoding that the text must fit; None leaves this to the stream.
    """
    shown = printable(text, limit)
    return Text(shown if encoding is None else spelled(shown, encoding))


class PlainTable:
    """A table of plain text on stdout.

    Args:
        title: title above the table; "" for none.
        box: whether to draw lines and a header.
    """

    def __init__(self, title: str = "", *, box: bool = True) -> None:
        self._title = title
        self._columns: list[tuple[str, bool, bool]] = []
        self._rows: list[tuple[str, ...]] = []
        self._box = box

    def column(self, *names: str, right: bool = True, whole: bool = False) -> None:
        """Add columns, aligned right or left, whose cells stay on one line (``whole``) or may wrap."""
        self._columns += [(name, right, whole) for name in names]

    def row(self, *cells: str) -> None:
        """Add a row with one cell per column."""
        self._rows.append(cells)

    def print(self, width: int = 110) -> None:
        """Print the table; if it is too wide for the output, print each row's cells below each other.

        Args:
            width: width in columns if stdout is not a terminal; a terminal's own width is used otherwise.
        """
        console = stdout_console(width)
        if self._needed() <= console.width:
            console.print(self._table(console.encoding))
        else:
            self._print_stacked(console)

    def _needed(self) -> int:
        """Return the width at which no word is broken, except those longer than ``LONG_WORD``."""
        words = [
            max((cell_len(word) for cell in cells for word in printable(cell, CELL).split()), default=0)
            for cells in zip([name for name, *_ in self._columns], *self._rows, strict=True)
        ]
        return 1 + sum(min(word, LONG_WORD) + 3 for word in words)

    def _table(self, encoding: str) -> Table:
        title = plain(self._title, encoding=encoding) if self._title else None
        if self._box:
            table = Table(title=title, title_justify="left")
        else:
            table = Table(show_header=False, box=None, pad_edge=True)
        for name, right, whole in self._columns:
            # Fold rather than truncate: no text may be lost.
            table.add_column(
                plain(name, encoding=encoding),
                justify="right" if right else "left",
                overflow="fold",
                no_wrap=whole,
            )
        for row in self._rows:
            table.add_row(*(plain(cell, CELL, encoding=encoding) for cell in row))
        return table

    def _print_stacked(self, console: Console) -> None:
        if self._title:
            console.print(plain(self._title))
        for row in self._rows:
            console.print(plain(row[0], CELL))
            for (name, *_), cell in zip(self._columns[1:], row[1:], strict=True):
                if cell:
                    console.print(plain(f"  {name}: {cell}" if name else f"  {cell}", CELL))


def stdout_console(width: int = 110) -> Console:
    """Return the console that tables are printed on: as wide as the terminal, or ``width`` columns without one.

    Rich would otherwise use 80 columns for a pipe, and break words.
    """
    found = Console()
    return Console(width=max(NARROWEST, found.width if found.is_terminal else width), highlight=False)


def print_plain(text: str, *, style: str = "") -> None:
    """Print a paragraph of plain text, wrapped at the width of tables."""
    console = stdout_console()
    console.print(plain(text, encoding=console.encoding), style=style)
