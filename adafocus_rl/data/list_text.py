"""Parsing of the text of list files: lines, numbers, names, and mistakes with their line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from adafocus_rl.errors import UserError

MAX_CLASSES = 1_000_000
"""Largest plausible number of classes."""

MAX_LINES = 5_000_000
"""Largest number of lines that are read; the records of more lines would take several gigabytes."""

MAX_LINE = 100_000
"""Longest plausible line of a list, in characters."""

FEW_CLASSES = 10_000
"""Number of classes that a list of numbers without names may always have, however few of them occur."""

GAPS = 10
"""Number of classes per occurring class that a list may have beyond ``FEW_CLASSES``."""

LIST_LIMIT = 128 << 20
"""Largest list file, in bytes."""

# Not an io.StringIO, which copies the text with four bytes per character.
_LINE = re.compile(r"[^\n]*\n|[^\n]+")

_DIGITS = 12
"""Largest number of digits; no count of frames or classes has more."""


class ListError(UserError):
    """A mistake on one line of a list file.

    Args:
        file: the list file.
        line: line number, from 1.
        text: the message without file and line: what was got, what was expected and what to do.
    """

    def __init__(self, file: Path, line: int, text: str) -> None:
        super().__init__(f"{file}, line {line}: {text}")
        self.line = line
        self.text = text


def believable(occurring: int) -> int:
    """Largest plausible number of classes, given how many occur.

    Every class costs memory in the last layer and for each video, whether it occurs or not.
    """
    return max(FEW_CLASSES, GAPS * occurring)


def number(text: str) -> int | None:
    """Parse an integer of 0 or more; None for anything else and for more than 12 digits."""
    text = text.strip()
    if not (text.isascii() and text.isdigit()):
        return None
    text = text.lstrip("0") or "0"
    return int(text) if len(text) <= _DIGITS else None


def looks_like_number(text: str) -> bool:
    """Return whether the text was meant as a number: ``-1``, ``1.0``, ``1e3``, ``nan`` or digits of any script."""
    return text == "nan" or bool(re.fullmatch(r"[+-]?[\d.,_]*\d[\d.,_]*([eE][+-]?\d+)?", text))


def label(text: str) -> int | str | None:
    """Parse a class as a number or a name; None for empty text and for a number that is not a valid label.

    A name is one line of text that UTF-8 can encode.
    """
    text = text.strip()
    value = number(text)
    if value is not None:
        return value if value < MAX_CLASSES else None
    return None if not text or looks_like_number(text) or flaw(text) else text


def split_labels(text: str) -> list[str]:
    """Split labels joined by ``;``, giving at least one; ``1; 2;`` is 1 and 2."""
    labels = [label.strip() for label in text.split(";")]
    while len(labels) > 1 and not labels[-1]:
        labels.pop()
    return labels


def flaw(text: str) -> str | None:
    """Describe why a list cannot hold a path or a name; None if it can."""
    if "\0" in text:
        return "a NUL character"
    if "\n" in text or "\r" in text:
        return "a line break"
    return None if is_utf8(text) else "a character that UTF-8 cannot write"


def is_utf8(text: str) -> bool:
    """Return whether UTF-8 can encode the text; file names may contain bytes that are not UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def with_newlines(text: str) -> str:
    r"""Replace the line ends of old Mac programs, ``\r`` alone, by ``\n``."""
    return text if "\n" in text else text.replace("\r", "\n")


def lines_of(file: Path, text: str) -> Iterator[tuple[int, str | ListError]]:
    """Yield (line number, stripped content) of each non-empty line.

    Raises:
        UserError: there are more lines than ``MAX_LINES``.
    """
    for line, found in enumerate(_LINE.finditer(with_newlines(text)), start=1):
        content = found[0]
        check_count(file, line)
        if len(content) > MAX_LINE:
            yield line, ListError(file, line, f"the line has {len(content)} characters; is it a list of videos?")
        elif "\0" in content:
            yield line, ListError(file, line, "there is a NUL character; write the list anew as UTF-8 text")
        elif content.strip():
            yield line, content.strip()


def check_count(file: Path, line: int) -> None:
    """Refuse a file with too many lines for a list.

    Raises:
        UserError: there are more lines than ``MAX_LINES``.
    """
    if line > MAX_LINES:
        raise UserError(f"{file} has more than {MAX_LINES} lines; check that it is the right file")
