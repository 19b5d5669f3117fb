"""Location of the videos of an official list, which gives ids where releases have files or folders."""

from __future__ import annotations

import os
import re
from pathlib import Path

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mkv .webm .avi .mov .mpg .mpeg .wmv .flv .3gp .ts .ogv".split()  # noqa: SIM905
)
"""Suffixes of video files, in lower case."""

_SECONDS = re.compile(r"_\d{6}_\d{6}$")
"""Kinetics' first and last second after the id."""


class Locator:
    """Finds listed names under a root; each folder is read once, however many videos it holds.

    A name matches as it is, with the suffix of a video file, with or without ActivityNet's ``v_``, with Kinetics'
    seconds after it (``ID_000010_000020.mp4``), and in a folder of its class.

    Args:
        root: folder to which the names are relative.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, dict[str, str]] = {}

    def find(self, name: str, class_name: str | None = None) -> str | None:
        """Find a video; return its path with ``/``, relative to the root (absolute if the name is), or None.

        Args:
            name: the name in the list.
            class_name: its class, for releases with a folder per class.
        """
        found = self._find(name, class_name)
        if found is None and "\\" in name:
            found = self._find(name.replace("\\", "/"), class_name)  # written on Windows
        return found

    def plain(self, name: str) -> str:
        """Return the path as listed, with Windows' delimiter replaced by ``/`` if only then it exists."""
        if "\\" not in name or not name.strip("./\\"):
            return name
        other = name.replace("\\", "/")
        there = [os.path.lexists(self.root / each) for each in (name, other)]
        return other if there == [False, True] else name

    def _find(self, name: str, class_name: str | None) -> str | None:
        parent, _, base = name.rpartition("/")
        folders = [parent]
        if class_name is not None:
            folders += ["/".join(filter(None, (parent, part))) for part in (class_name, class_name.replace(" ", "_"))]
        other = base[2:] if base.startswith("v_") else f"v_{base}"
        for folder in folders:
            entries = self._entries(folder)
            for key in (base, other):
                if key in entries:
                    return f"{folder}/{entries[key]}" if folder or name.startswith("/") else entries[key]
        return None

    def _entries(self, folder: str) -> dict[str, str]:
        """Map the possible spellings of a name to the folder's entry."""
        if folder not in self._folders:
            try:
                with os.scandir(self.root / folder) as found:
                    names = sorted((entry.name, entry.is_dir()) for entry in found)
            except (OSError, ValueError):
                names = []
            # Full names take precedence over names without a suffix, and those over names without seconds.
            entries = {name: name for name, _ in names}
            stems = [(Path(name).stem, name) for name, _ in names if Path(name).suffix.lower() in VIDEO_SUFFIXES]
            bare = [*stems, *((name, name) for name, is_folder in names if is_folder)]
            stems += [(_SECONDS.sub("", stem), name) for stem, name in bare]
            for stem, name in stems:
                entries.setdefault(stem, name)
            self._folders[folder] = entries
        return self._folders[folder]
