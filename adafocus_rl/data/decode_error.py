"""What is wrong with a video."""

from __future__ import annotations

from pathlib import Path


class DecodeError(Exception):
    """A video that cannot be read: `path` and a `reason` in plain words."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = str(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"
