"""Checksums stored inside the files that they protect, so that every flipped bit is found.

The checksum of a file that holds its own is computed with its digits replaced by zeros. CRC-32 finds every change
within 32 neighbouring bits, and all but one in four thousand million of the others. It is twice as fast as SHA-256 (3.3
and 1.6 GiB/s on one core). It protects against damage only: someone who changes a file on purpose can update its
checksum too.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adafocus_rl.errors import UserError
from adafocus_rl.files import parse_json, read_bytes, write_text

DIGITS = 8
BLANK = "crc32:" + "0" * DIGITS
"""Placeholder for a checksum while it is computed."""

_BLOCK = 1 << 20
_SEAL = re.compile(rb'"checksum": "crc32:([0-9a-f]{8})"\n?}\s*$')


class Checksum:
    """Checksum of bytes that arrive in pieces."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes | memoryview) -> None:
        """Add bytes."""
        self._value = zlib.crc32(data, self._value)

    def __str__(self) -> str:
        return f"crc32:{self._value:08x}"


def checksum_of(path: Path, *, without: int | None = None) -> str:
    """Compute the checksum of a file in constant memory.

    Args:
        path: the file.
        without: offset of the digits of the file's own checksum, which count as zeros.

    Raises:
        OSError: the file cannot be read.
    """
    found = Checksum()
    with path.open("rb") as file:
        if without is not None:
            found.update(file.read(without))
            found.update(b"0" * len(file.read(DIGITS)))
        while block := file.read(_BLOCK):
            found.update(block)
    return str(found)


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, with a checksum of its text as the last entry, ``checksum``.

    Raises:
        OSError: writing failed.
    """
    text = json.dumps({**content, "checksum": BLANK}, indent=1)
    found = Checksum()
    found.update(text.encode())
    head, _, tail = text.rpartition(BLANK)
    write_text(path, f"{head}{found}{tail}\n")


def read_sealed(path: Path, what: str) -> tuple[dict[str, Any], bool | None]:
    """Read a JSON object that ``write_sealed`` wrote, or one without a checksum.

    Args:
        path: the file.
        what: kind of file, for the message.

    Returns:
        The content without its checksum, and whether the checksum matches; None if the file has none.

    Raises:
        UserError: the file does not exist, or is not a JSON object.
    """
    data = read_bytes(path, what)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"the {what} {path} is damaged: it is no UTF-8 text") from None
    content = parse_json(text, f"the {what} {path}")
    if not isinstance(content, dict):
        raise UserError(f"the {what} {path} holds a JSON {type(content).__name__}, expected an object")
    if "checksum" not in content:
        return content, None
    given, seal, found = content.pop("checksum"), _SEAL.search(data), Checksum()
    if seal is None:
        return content, False
    found.update(data[: seal.start(1)] + b"0" * DIGITS + data[seal.end(1) : -1])
    return content, given == str(found) and data.endswith(b"\n")
