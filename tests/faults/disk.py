"""A disk that has lost power: it keeps what was flushed, and of the rest what suits a program least."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Names = Literal["kept", "lost"]
"""What becomes of created, renamed and removed names since the last flush of their folder."""


@dataclass
class _File:
    data: bytes = b""
    """What was flushed last."""


@dataclass
class _Link:
    target: str


@dataclass
class _Folder:
    now: dict[str, Any] = field(default_factory=dict)
    flushed: dict[str, Any] = field(default_factory=dict)


class Disk:
    """A model of a folder on a disk, from changes in the order in which they were made.

    Content that was not flushed is lost: a file has the content of its last flush, or is empty. Names that were not
    flushed with their folder are all kept, or all lost; a real disk is allowed both.

    Args:
        folder: the folder; all in it counts as flushed.
    """

    def __init__(self, folder: Path) -> None:
        self.root = _read(folder)

    def replay(self, changes: Iterable[Mapping[str, Any]], snapshots: Path) -> None:
        """Makes changes that a process has traced.

        Args:
            changes: lines of its trace.
            snapshots: folder of the contents that were flushed.
        """
        for change in changes:
            kind, path = change["kind"], str(change["path"])
            if kind in ("create", "overwrite"):
                self._put(path, _File())
            elif kind == "mkdir":
                self._put(path, _Folder())
            elif kind in ("replace", "link"):
                node = self._get(str(change["source"]))
                self._put(path, _File() if node is None else node)
                if kind == "replace":
                    self._take(str(change["source"]))
            elif kind in ("unlink", "rmdir"):
                self._take(path)
            elif kind == "fsync" and "snapshot" in change:
                node = self._get(path)
                data = (snapshots / change["snapshot"]).read_bytes()
                if isinstance(node, _File):
                    node.data = data
                else:  # written by code that is not watched
                    self._put(path, _File(data))
            elif kind == "fsync":
                folder = self._get(path)
                if isinstance(folder, _Folder):
                    folder.flushed = dict(folder.now)

    def write(self, folder: Path, names: Names) -> None:
        """Puts a folder into the state after the loss of power."""
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        _write(self.root, folder, names)

    def files(self, names: Names) -> dict[str, bytes]:
        """The content of all files after the loss of power, by path."""
        return dict(_files(self.root, names))

    def _get(self, path: str) -> Any:
        node: Any = self.root
        for part in Path(path).parts:
            node = node.now.get(part) if isinstance(node, _Folder) else None
        return node

    def _parent(self, path: str) -> tuple[_Folder, str]:
        *above, name = Path(path).parts
        node = self.root
        for part in above:
            node = node.now.setdefault(part, _Folder())
        return node, name

    def _put(self, path: str, node: Any) -> None:
        folder, name = self._parent(path)
        folder.now[name] = node

    def _take(self, path: str) -> None:
        folder, name = self._parent(path)
        folder.now.pop(name, None)


def _read(folder: Path) -> _Folder:
    found = _Folder()
    for entry in folder.iterdir():
        if entry.is_symlink():
            found.now[entry.name] = _Link(str(entry.readlink()))
        else:
            found.now[entry.name] = _read(entry) if entry.is_dir() else _File(entry.read_bytes())
    found.flushed = dict(found.now)
    return found


def _entries(folder: _Folder, names: Names) -> dict[str, Any]:
    return folder.now if names == "kept" else folder.flushed


def _write(node: _Folder, folder: Path, names: Names) -> None:
    for name, entry in _entries(node, names).items():
        place = folder / name
        if isinstance(entry, _Folder):
            place.mkdir()
            _write(entry, place, names)
        elif isinstance(entry, _Link):
            place.symlink_to(entry.target)
        else:
            place.write_bytes(entry.data)


def _files(node: _Folder, names: Names, at: str = "") -> Iterable[tuple[str, bytes]]:
    for name, entry in _entries(node, names).items():
        if isinstance(entry, _Folder):
            yield from _files(entry, names, f"{at}{name}/")
        elif isinstance(entry, _File):
            yield f"{at}{name}", entry.data
