"""List files as text, and mistakes in them that are named with their line."""

from __future__ import annotations

import gzip
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


def read_text(path: Path, what: str) -> str:
    """The text of a UTF-8 file, unpacked if its name ends in ``.gz``; a byte-order mark is left out.

    Args:
        path: the file.
        what: what it is, for the message: "list file", "file of class names".

    Raises:
        UserError: no such file, or no text.
    """
    try:
        content = path.read_bytes()
        # utf-8-sig: spreadsheet programs put a byte-order mark before the first column's name.
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"there is no {what} {path}; check the path") from None
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise UserError(f"the {what} {path} cannot be read as text ({error}); check the file") from None


def number(text: str) -> int | None:
    """The integer of 0 or more that the text is; None for anything else."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() else None
