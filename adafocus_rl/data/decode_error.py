"""The error for an unreadable video, whether found by this package or by a decoding library."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

REASON_LETTERS = 200
"""Longest part of a library's message that is reported, in characters."""


class DecodeError(Exception):
    """A video cannot be read; has its ``path`` and a ``reason`` in plain words."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = str(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class DecoderAtWork:
    """Context manager for calls into a decoding library that turns any exception into a ``DecodeError``.

    On damaged files libraries raise their own exceptions, but also ValueError, MemoryError, OverflowError, SyntaxError
    or AssertionError. Put only library calls into the block, so that bugs of this package are not hidden. An object can
    be used for many blocks.

    Args:
        path: the video.
        what: what is decoded, for the message: "it", or the name of an image in a folder.
    """

    def __init__(self, path: Path, what: str = "it") -> None:
        self.path = path
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, DecodeError):
            raise DecodeError(self.path, f"{self.what} cannot be decoded ({reason_of(error)})") from error


def reason_of(error: Exception) -> str:
    """Summarise a library's exception in one line."""
    if isinstance(error, MemoryError):
        return "it takes more memory than there is"
    # Without the number and the file of FFmpeg's and the system's errors, and without OpenCV's source line.
    words = getattr(error, "strerror", None) or getattr(error, "err", None) or f"{type(error).__name__}: {error}"
    return " ".join(str(words).split())[:REASON_LETTERS]
