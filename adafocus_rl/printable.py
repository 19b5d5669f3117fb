r"""Sanitising of untrusted text before it reaches a terminal, a picture or a log.

A file name, a class name or a library's message may hold escape sequences that rewrite the screen, marks that reverse
the direction of writing, bytes that are not text, or three million letters. Code that prints such text passes it
through ``printable``; lists, records and JSON store it unchanged.
"""

from __future__ import annotations

import re

LIMIT = 1000
"""Longest text shown, in characters."""

_HIDDEN = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters: escape sequences begin with \x1b, or with \x9b alone
    "\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # line ends, direction, no width
    "\ud800-\udfff"  # lone surrogates: bytes of a file name that is not UTF-8
    "\U000e0000-\U000e007f"  # tag characters, which are never visible
    "]"
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_LEFT_OUT = " … "


def printable(text: str, limit: int | None = LIMIT) -> str:
    r"""Replace control, direction and other invisible characters by escapes (``\x1b``), and shorten long text.

    The joiners of Persian, Indic scripts and emoji are kept.

    Args:
        text: any text.
        limit: number of characters above which the middle is left out; None keeps everything.

    Returns:
        One line.
    """
    if limit is not None and len(text) > 2 * limit:
        # Escapes only lengthen the text, so the middle is never shown.
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
