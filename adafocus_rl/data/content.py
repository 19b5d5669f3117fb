"""Detection of videos with equal content under different names."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from adafocus_rl.data.frame_names import image_names


def same_content(paths: Iterable[Path]) -> list[list[Path]]:
    """Find groups of two or more videos with the same bytes; missing files and folders are left out.

    Only videos of equal size are read. Folders are compared by all names and by the bytes of all their images.
    """
    by_size: dict[tuple[int, ...], list[Path]] = defaultdict(list)
    for path in paths:
        size = _size(path)
        if size is not None:
            by_size[size].append(path)
    by_content: dict[bytes, list[Path]] = defaultdict(list)
    for alike in by_size.values():
        if len(alike) > 1:
            for path in alike:
                by_content[_digest(path)].append(path)
    return [group for group in by_content.values() if len(group) > 1]


def _size(path: Path) -> tuple[int, ...] | None:
    """A size that equal videos share and that needs no reading; None if nothing is there."""
    if path.is_file():
        size = path.stat().st_size
        return (size,) if size else None
    if path.is_dir():
        names = sorted(image_names(path))
        return (len(names), *((path / name).stat().st_size for name in (*names[:1], *names[-1:]))) if names else None
    return None


def _digest(path: Path) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for file in [path] if path.is_file() else [path / name for name in sorted(image_names(path))]:
        if file != path:
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return digest.digest()
