"""Tables on a terminal: text that is text, whatever it holds, in any width."""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from adafocus_rl.experiments.terminal.streams import spelled
from adafocus_rl.printable import printable

NARROWEST = 20
"""Columns of a terminal that says it has fewer (``COLUMNS=0``)."""

LONG_WORD = 24
"""Letters of a word above which it may be broken."""

CELL = 200
"""Characters of a cell."""


def plain(text: str, limit: int = 1000, *, encoding: str | None = None) -> Text:
    """Text in which rich finds no markup, emoji, number or link; see ``printable``.

    Args:
        text: anything.
        limit: characters.
        encoding: what it has to fit into; None leaves that to the stream.
    """
    shown = printable(text, limit)
    return Text(shown if encoding is None else spelled(shown, encoding))


class PlainTable:
    """A table of plain text on stdout.

    Args:
        title: above it; "" for none.
        box: whether there are lines and a head.
    """

    def __init__(self, title: str = "", *, box: bool = True) -> None:
        self._title = title
        self._columns: list[tuple[str, bool, bool]] = []
        self._rows: list[tuple[str, ...]] = []
        self._box = box

    def column(self, *names: str, right: bool = True, whole: bool = False) -> None:
        """Add columns, aligned to the right or left, with cells of one line (whole) or of several."""
        self._columns += [(name, right, whole) for name in names]

    def row(self, *cells: str) -> None:
        """Add a row of as many cells as there are columns."""
        self._rows.append(cells)

    def print(self, width: int = 110) -> None:
        """Print it; where the words of its columns have no room beside each other, below each other.

        Args:
            width: where it does not go to a terminal, which has a width itself.
        """
        console = stdout_console(width)
        if self._needed() <= console.width:
            console.print(self._table(console.encoding))
        else:
            self._print_stacked(console)

    def _needed(self) -> int:
        """The width in which no word is broken, long names aside."""
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
            # Folded, not cut: what is left out would have to be said.
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
    """Where tables are printed: as wide as the terminal, or as said where there is none.

    A pipe would otherwise get 80 columns, with words broken.
    """
    found = Console()
    return Console(width=max(NARROWEST, found.width if found.is_terminal else width), highlight=False)


def print_plain(text: str, *, style: str = "") -> None:
    """A paragraph beside tables, wrapped like them."""
    console = stdout_console()
    console.print(plain(text, encoding=console.encoding), style=style)
