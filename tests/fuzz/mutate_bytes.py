"""Bytes and text made hostile without knowing what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

INTEGERS = (
    "0", "-0", "-1", "1", "2", "7", "255", "65535", "65536", "1000000000", "2147483647", "2147483648", "4294967296",
    "9223372036854775807", "9223372036854775808", "-9223372036854775809", "99999999999999999999", "1" * 400,
    "9" * 5000, "+1", "01", "1_000", "0x10", "0b1", "1e3", "1e400", "-1e400", "1.5", ".5", "٣", "²", "１",
)  # fmt: skip
FLOATS = ("nan", "NaN", ".nan", "inf", "-inf", ".inf", "-.inf", "Infinity", "1e308", "1e-320", "-0.0", "1e9", "1e-9")
NAMES = (
    "", " ", ".", "..", "~", "~nouser", "~nouser/x", "-", "--", "-x", "--help", "/", "//", "a/../b", "con", "nul",
    "x[/y].mp4", "[bold]x[/bold]", "[red]", "[/]", ":car:", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x9b31m", "\x7f",
    "a\nb", "a\rb", "a\tb", "a\x00b", "\ud800", "\udcff\udcfe.mp4", "\u202egnp.exe", "\u200b", "\ufeff", "é", "e\u0301",
    "λ", "日本語", "🎥" * 3, "n" * 255, "n" * 256, "n" * 5000, "d/" * 2100, "%s%s%n", "{0}", "{:09999999999d}", "$HOME",
    "`id`", "$(id)", "; id", "| id", "'; --", '"', "'", "\\", "\\\\server\\x", "C:\\x", "file:x.mp4", "data:,x",
    "concat:0.mp4|1.mp4", "pipe:0", "fd:0", "12:30 talk.mp4", "a:b", "x?y", "x*y", "x#y", "*.mp4", "x,y", "x;y", "x=y",
)  # fmt: skip
"""Names of files, classes, keys."""
WORDS = (*INTEGERS, *FLOATS, *NAMES, "true", "null", "None", "[]", "{}", "()", "path", "label", "num_frames")
ODD_BYTES = (b"\x00", b"\xff", b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc0\x80", b"\xed\xa0\x80", b"\x1f\x8b",
             b"\r", b"\r\n", b"\n\n", b"\x1a", b"\x1b[2J", b"\x85", b"\xe2\x80\xa8")  # fmt: skip


def word(rng: Random) -> str:
    """A token that somebody may have forgotten."""
    return rng.choice(WORDS)


def mutate_bytes(rng: Random, content: bytes, others: Sequence[bytes] = ()) -> bytes:
    """The content with one to a few faults: bits, bytes, blocks, lengths, pieces of another file."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        content = rng.choice(_BYTE_FAULTS)(rng, content)
    if others and rng.random() < 0.15:
        other, at = rng.choice(others), rng.randrange(len(content) + 1)
        content = content[:at] + other[rng.randrange(len(other) + 1) :]
    return content


def mutate_header(rng: Random, content: bytes, size: int = 64) -> bytes:
    """Faults in the first bytes only, where sizes and types stand."""
    return mutate_bytes(rng, content[:size]) + content[size:]


def mutate_text(rng: Random, text: str) -> bytes:
    """The text with tokens exchanged, lines moved, and odd encodings."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        text = rng.choice(_TEXT_FAULTS)(rng, text)
    content = text.encode("utf-8", "surrogatepass")
    encoding = rng.random()
    if encoding < 0.05:
        return text.encode(rng.choice(("utf-16", "utf-32", "utf-8-sig")), "replace")
    if encoding < 0.1:
        return text.encode("latin-1", "replace")
    return mutate_bytes(rng, content) if encoding < 0.35 else content


def _flip(rng: Random, content: bytes) -> bytes:
    if not content:
        return b"\x00"
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def _overwrite(rng: Random, content: bytes) -> bytes:
    at = rng.randrange(len(content) + 1)
    new = rng.choice((*ODD_BYTES, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00" * 8, b"\xff" * 8))
    return content[:at] + new + content[at + len(new) :]


def _truncate(rng: Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _remove(rng: Random, content: bytes) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + content[at + rng.choice((1, 2, 4, 16, 200)) :]


def _insert(rng: Random, content: bytes) -> bytes:
    at = rng.randrange(len(content) + 1)
    new = rng.choice((*ODD_BYTES, rng.randbytes(rng.choice((1, 4, 64))), word(rng).encode("utf-8", "surrogatepass")))
    return content[:at] + new + content[at:]


def _repeat(rng: Random, content: bytes) -> bytes:
    at = rng.randrange(len(content) + 1)
    block = content[at : at + rng.choice((1, 8, 64, 1000))]
    return content[:at] + block * rng.choice((2, 3, 50)) + content[at:]


def _zeros(rng: Random, content: bytes) -> bytes:
    at = rng.randrange(len(content) + 1)
    size = rng.choice((1, 16, 512))
    return content[:at] + b"\x00" * min(size, len(content) - at) + content[at + size :]


_BYTE_FAULTS = (_flip, _flip, _overwrite, _overwrite, _truncate, _remove, _insert, _repeat, _zeros)


def _cells(text: str) -> tuple[list[str], list[int]]:
    """The text cut at its separators, and which pieces are values."""
    pieces, start = [], 0
    for at, letter in enumerate(text):
        if letter in ",; \t\n":
            pieces += [text[start:at], letter]
            start = at + 1
    pieces.append(text[start:])
    return pieces, list(range(0, len(pieces), 2))


def _replace_cell(rng: Random, text: str) -> str:
    pieces, values = _cells(text)
    pieces[rng.choice(values)] = word(rng)
    return "".join(pieces)


def _decorate_cell(rng: Random, text: str) -> str:
    pieces, values = _cells(text)
    at = rng.choice(values)
    pieces[at] = (
        rng.choice(("", "-", "\x00", "\x1b[1m", '"', "'", " ", "../", "/", "\ud800", "[/]"))
        + pieces[at]
        + rng.choice(("", "\x00", '"', "[/x]", "\udc80", " ", "/", ".mp4"))
    )
    return "".join(pieces)


def _change_separator(rng: Random, text: str) -> str:
    old, new = rng.choice((",", ";", " ", "\n")), rng.choice((",", ";", "\t", " ", "\r", "\r\n", "\v", "\u2028", "|"))
    return text.replace(old, new, rng.choice((1, 2, -1)))


def _lines(rng: Random, text: str) -> str:
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    return "\n".join(
        rng.choice((
            lines[:at] + lines[at + 1 :],
            [*lines[:at], lines[at], *lines[at:]],
            rng.sample(lines, len(lines)),
            [*lines[:at], word(rng), *lines[at:]],
            [*lines[:at], lines[at] * 3, *lines[at + 1 :]],
            lines[1:],
            ["# " + lines[0], *lines[1:]],
            lines * 40,
        ))
    )  # fmt: skip


def _empty(rng: Random, text: str) -> str:
    return rng.choice(
        ("", "\n", " ", "\ufeff", "\x00", ",", ";", "[", "{", '"', "path,label", "path,label\n", text[:1])
    )


_TEXT_FAULTS = (_replace_cell, _replace_cell, _replace_cell, _decorate_cell, _change_separator, _lines, _lines, _empty)
