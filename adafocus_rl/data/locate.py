"""Where the videos of an official list lie: such lists give ids, and releases put files or folders under them."""

from __future__ import annotations

import os
import re
from pathlib import Path

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mkv .webm .avi .mov .mpg .mpeg .wmv .flv .3gp .ts .ogv".split()  # noqa: SIM905
)
"""Endings of video files, in small letters."""

_SECONDS = re.compile(r"_\d{6}_\d{6}$")
"""Kinetics' first and last second behind the id."""


class Locator:
    """Finds listed names under a root; each folder is listed once, however many videos it holds.

    A name is found as it is, with the ending of a video file, with or without ActivityNet's ``v_``, with Kinetics'
    seconds behind it (``ID_000010_000020.mp4``), and in a folder of its class.

    Args:
        root: folder that the names are relative to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, dict[str, str]] = {}

    def find(self, name: str, class_name: str | None = None) -> str | None:
        """The path of the video, with ``/`` and relative to the root (absolute if the name is); None: not there.

        Args:
            name: as listed.
            class_name: its class, for releases with a folder per class.
        """
        found = self._find(name, class_name)
        if found is None and "\\" in name:
            found = self._find(name.replace("\\", "/"), class_name)  # written on Windows
        return found

    def plain(self, name: str) -> str:
        """The path as it is listed; with ``/`` for Windows' delimiter where only that leads somewhere."""
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
        """What a name may say, and the entry of the folder that it means."""
        if folder not in self._folders:
            try:
                with os.scandir(self.root / folder) as found:
                    names = sorted((entry.name, entry.is_dir()) for entry in found)
            except (OSError, ValueError):
                names = []
            # Whole names go before names without an ending, those before names without seconds.
            entries = {name: name for name, _ in names}
            stems = [(Path(name).stem, name) for name, _ in names if Path(name).suffix.lower() in VIDEO_SUFFIXES]
            bare = [*stems, *((name, name) for name, is_folder in names if is_folder)]
            stems += [(_SECONDS.sub("", stem), name) for stem, name in bare]
            for stem, name in stems:
                entries.setdefault(stem, name)
            self._folders[folder] = entries
        return self._folders[folder]
