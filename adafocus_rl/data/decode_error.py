"""What is wrong with a video, whoever finds it: ourselves or a decoding library."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

REASON_LETTERS = 200
"""Letters that are told of what a library says."""


class DecodeError(Exception):
    """A video that cannot be read: ``path`` and a ``reason`` in plain words."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = str(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class DecoderAtWork:
    """A ``with`` block around calls into a decoding library: whatever they raise becomes a ``DecodeError``.

    Libraries raise what they like on damaged files: their own exceptions, but also ValueError, MemoryError,
    OverflowError, SyntaxError or AssertionError. Only calls into a library stand in such a block, so that a fault of
    our own still shows as one. An object may be used for many blocks.

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
    """What a library's exception says, in one line."""
    if isinstance(error, MemoryError):
        return "it takes more memory than there is"
    # Of FFmpeg's and the system's errors without the number and the file, of OpenCV's without the line of its source.
    words = getattr(error, "strerror", None) or getattr(error, "err", None) or f"{type(error).__name__}: {error}"
    return " ".join(str(words).split())[:REASON_LETTERS]
