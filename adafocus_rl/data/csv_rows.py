"""CSV tables with a header and any of the usual delimiters.

Spreadsheet programs write commas, in parts of Europe semicolons, and as "Unicode text" tabs in UTF-16.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from adafocus_rl.data.list_text import MAX_LINE, ListError, check_count, with_newlines
from adafocus_rl.errors import UserError

Row = dict[str, str]


def header_delimiter(line: str, needed: Iterable[str]) -> str | None:
    """Find the delimiter with which the line is a header that contains all of ``needed``; None if there is none."""
    for delimiter in (",", ";", "\t"):
        if {*needed} <= {*_cells(line, delimiter)}:
            return delimiter
    return None


def csv_rows(
    file: Path, text: str, required: Sequence[str], *, loose: bool = False
) -> Iterator[tuple[int, Row | ListError]]:
    """Read the rows of a CSV file with a header.

    Args:
        file: the file, for messages.
        text: its content.
        required: columns that the header must have.
        loose: keep misplaced quotes as text, and strip blanks before a value.

    Yields:
        (line number, values by column or the mistake on the line).

    Raises:
        UserError: the header lacks a required column or repeats one, a quote does not end, or a value has more than
            131,072 characters.
    """
    text = with_newlines(text)
    # Excel may declare the delimiter on a line before the header.
    named = re.match(r"sep=([,;\t])\r?\n", text)
    start = text[named.end() :] if named else text
    skipped = 1 if named else 0
    first = start.lstrip("\r\n ")[: MAX_LINE + 1].split("\n", 1)[0]
    delimiter = named[1] if named else header_delimiter(first, required) or ","
    reader = csv.reader(_lines(start), delimiter=delimiter, strict=not loose, skipinitialspace=loose)
    line = 1
    try:
        header: list[str] | None = None
        for values in reader:
            line = reader.line_num + skipped
            check_count(file, line)
            if not values:
                continue
            if header is None:
                header = _header(file, values, required)
                continue
            yield line, _row(file, line, header, values)
        if header is None:
            _header(file, [], required)
    except csv.Error as error:
        raise UserError(
            f"{file}, line {max(reader.line_num + skipped, 1)}: this cannot be read as CSV ({error}); check the quotes "
            f"from line {line} on"
        ) from None


def _lines(text: str) -> Iterator[str]:
    for found in re.finditer(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text):
        if len(found[0]) > MAX_LINE:
            raise csv.Error(f"a line of {len(found[0])} characters")
        yield found[0]


def _cells(line: str, delimiter: str) -> list[str]:
    if len(line) > MAX_LINE:
        return []
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _header(file: Path, values: Sequence[str], required: Sequence[str]) -> list[str]:
    header = [name.strip() for name in values]
    absent = [name for name in required if name not in header]
    if absent:
        raise UserError(
            f"{file}, line 1: no column {' and no column '.join(map(repr, absent))} (the header is "
            f"{','.join(header)!r}); expected a CSV file whose first line names {','.join(required)}"
        )
    twice = [name for name in dict.fromkeys(header) if name and header.count(name) > 1]
    if twice:
        raise UserError(f"{file}, line 1: two columns are named {twice[0]!r}; rename one")
    return header


def _row(file: Path, line: int, header: Sequence[str], values: Sequence[str]) -> Row | ListError:
    # Trailing delimiters are empty columns of a spreadsheet.
    if len(values) < len(header) or any(value.strip() for value in values[len(header) :]):
        text = f"not {len(header)} values as in the header; put a value that contains a comma in double quotes"
        return ListError(file, line, text)
    if any("\0" in value for value in values):
        return ListError(file, line, "there is a NUL character; write the list anew as UTF-8 text")
    return dict(zip(header, values, strict=False))
