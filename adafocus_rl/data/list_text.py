"""Mistakes in list files, named with their line, and the numbers in them."""

from __future__ import annotations

from pathlib import Path

from adafocus_rl.errors import UserError


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


def number(text: str) -> int | None:
    """The integer of 0 or more that the text is; None for anything else."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() else None
