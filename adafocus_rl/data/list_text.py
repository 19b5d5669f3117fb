"""The text of list files: its lines, the numbers and names in them, and mistakes named with their line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from adafocus_rl.errors import UserError

MAX_CLASSES = 1_000_000
"""Classes of the largest problem that is taken for meant."""

MAX_LINES = 5_000_000
"""Lines of the longest list that is read: more would take more than a few gigabytes as records."""

MAX_LINE = 100_000
"""Characters of the longest line that is taken for one of a list."""

FEW_CLASSES = 10_000
"""Classes that a list of numbers without names may have, however few of them occur."""

GAPS = 10
"""Classes, occurring or not, for each one that occurs, that a list may have beyond these."""

LIST_LIMIT = 128 << 20
"""Bytes of the largest list."""

# Not an io.StringIO, which holds the text once more, with four bytes for each character.
_LINE = re.compile(r"[^\n]*\n|[^\n]+")

_DIGITS = 12
"""Digits of the largest number; no count of frames or classes has more."""


class ListError(UserError):
    """A mistake on one line of a list file.

    Args:
        file: the list file.
        line: number of the line, from 1.
        text: what was got, what was expected and what to do; without file and line.
    """

    def __init__(self, file: Path, line: int, text: str) -> None:
        super().__init__(f"{file}, line {line}: {text}")
        self.line = line
        self.text = text


def believable(occurring: int) -> int:
    """The number of classes up to which labels are taken for meant, by how many occur.

    What a class takes, in the last layer and for each video, it takes whether it occurs or not.
    """
    return max(FEW_CLASSES, GAPS * occurring)


def number(text: str) -> int | None:
    """The integer of 0 or more that the text is; None for anything else, and for more than 12 digits."""
    text = text.strip()
    if not (text.isascii() and text.isdigit()):
        return None
    text = text.lstrip("0") or "0"
    return int(text) if len(text) <= _DIGITS else None


def looks_like_number(text: str) -> bool:
    """Whether somebody who wrote this meant a number: ``-1``, ``1.0``, ``1e3``, ``nan`` or digits of any script."""
    return text == "nan" or bool(re.fullmatch(r"[+-]?[\d.,_]*\d[\d.,_]*([eE][+-]?\d+)?", text))


def label(text: str) -> int | str | None:
    """The class that the text gives, as a number or as a name; None for nothing, and for what is a number and no label.

    A name is one line of text that UTF-8 can write.
    """
    text = text.strip()
    value = number(text)
    if value is not None:
        return value if value < MAX_CLASSES else None
    return None if not text or looks_like_number(text) or flaw(text) else text


def split_labels(text: str) -> list[str]:
    """The labels that ``;`` joins, at least one; ``1; 2;`` is 1 and 2."""
    labels = [label.strip() for label in text.split(";")]
    while len(labels) > 1 and not labels[-1]:
        labels.pop()
    return labels


def flaw(text: str) -> str | None:
    """What keeps a path or a name out of a list, in a few words; None for nothing."""
    if "\0" in text:
        return "a NUL character"
    if "\n" in text or "\r" in text:
        return "a line break"
    return None if is_utf8(text) else "a character that UTF-8 cannot write"


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can write the text; names on a disk may hold bytes that are no UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def with_newlines(text: str) -> str:
    r"""The text with ``\n`` between its lines if it has ``\r`` alone there, as old programs on a Mac write it."""
    return text if "\n" in text else text.replace("\r", "\n")


def lines_of(file: Path, text: str) -> Iterator[tuple[int, str | ListError]]:
    """(number, content without blanks around it) of each line with content.

    Raises:
        UserError: more lines than ``MAX_LINES``.
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
    """Ends the reading of a list that is none.

    Raises:
        UserError: there are more lines than ``MAX_LINES``.
    """
    if line > MAX_LINES:
        raise UserError(f"{file} has more than {MAX_LINES} lines; check that it is the right file")
