"""Folders whose names and files are on the disk, not only in the system's memory, so that they survive a power cut."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path


def make_folders(folder: Path) -> None:
    """Create a folder and the missing folders above it, and flush their names to the disk; it may exist already.

    Raises:
        OSError: a folder cannot be created.
    """
    new = [*takewhile(lambda path: not path.exists(), (folder, *folder.parents))]
    folder.mkdir(parents=True, exist_ok=True)
    for path in new:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk where the system supports it (Windows cannot open folders)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_tree(folder: Path) -> None:
    """Flush a folder, all files in it and all folders below it to the disk.

    Raises:
        OSError: flushing a file failed, for example because the disk is full.
    """
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if path.is_file() and not path.is_symlink():
                sync_file(path)
        sync_folder(Path(place))


def sync_file(path: Path) -> None:
    """Flush a file to the disk.

    Raises:
        OSError: flushing failed, for example because the disk is full.
    """
    # Windows flushes only what is open for writing; elsewhere the file may be read-only.
    with path.open("rb+" if os.name == "nt" else "rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``folder``; flush it and rename it to ``folder`` when the context ends.

    If the block raises, the temporary folder is removed. What a killed process left in it is removed by the next one.

    Args:
        folder: a folder that is empty or does not exist; missing folders above it are created.

    Raises:
        OSError: a file or folder cannot be written.
    """
    temporary = folder.with_name(f".{folder.name}.part")
    make_folders(folder.parent)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        sync_tree(temporary)
        if folder.is_dir():
            folder.rmdir()
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(folder.parent)


@contextlib.contextmanager
def first_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``folder``; rename it to ``folder`` when the context ends, or drop it.

    It is dropped if another process was faster: processes that write the same content need no lock.

    Args:
        folder: a folder that does not exist, unless another process has just written it.

    Raises:
        OSError: a file or folder cannot be written.
    """
    make_folders(folder.parent)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield temporary
        sync_tree(temporary)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(folder.parent)
