r"""Text of strangers, made fit for a terminal, a picture or a log: nothing hidden in it, and no longer than one reads.

A file name, a class name or the message of a library may hold escape sequences that rewrite the screen, marks that turn
the direction of writing around, bytes that are no text, or three million letters. Whoever prints such text passes it
through ``printable``; what holds it (a list, a record, JSON) keeps it as it is.
"""

from __future__ import annotations

import re

LIMIT = 1000
"""Characters of a sentence that are shown."""

_HIDDEN = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters: escape sequences begin with \x1b, or with \x9b alone
    "\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # line ends, direction, no width
    "\ud800-\udfff"  # half a character: a byte of a file name that is no UTF-8
    "\U000e0000-\U000e007f"  # tags, which are never seen
    "]"
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_LEFT_OUT = " … "


def printable(text: str, limit: int | None = LIMIT) -> str:
    r"""The text with control, direction and other unseen characters as escapes (``\x1b``), shortened in the middle.

    The joiners that Persian, Indian scripts and emoji are written with stay.

    Args:
        text: anything.
        limit: characters above which the middle is left out, so that beginning and end stay; None keeps everything.

    Returns:
        One line.
    """
    if limit is not None and len(text) > 2 * limit:
        # Escapes only make it longer: the middle cannot be part of what is shown.
        text = text[:limit] + text[-limit:]
    seen = _HIDDEN.sub(_escape, text)
    if limit is None or len(seen) <= limit:
        return seen
    room = max(0, limit - len(_LEFT_OUT))
    return f"{seen[: room - room // 3]}{_LEFT_OUT}{seen[len(seen) - room // 3 :]}"


def _escape(match: re.Match[str]) -> str:
    letter = match[0]
    number = ord(letter)
    if letter in _SHORT:
        return _SHORT[letter]
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
