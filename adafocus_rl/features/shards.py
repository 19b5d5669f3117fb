"""A table on disk: its manifest, and shards, each of which appears only when it is complete.

Layout of a table's folder::

    manifest.json                the table's content and dependencies
    shard_00000/<table>.npy      float16 (videos of the shard, T, …), or uint8 for features in 8 bits
    shard_00000/<table>.range.npy   only for those: float32 (videos of the shard, T, 2), see ``eight_bit``
    shard_00000/done.json        the done mark: the manifest's hash, the files' sizes and checksums, and the videos
                                 without a clip
    shard_00000/sources.json     in a shared store: what the clips were read from

The table ``clips`` has ``label.npy`` (int64), ``multi_hot.npy`` (uint8), ``boxes.npy`` (float32) and ``valid.npy``
(bool) in each shard.

A shard is written under a temporary name and renamed, so a folder ``shard_…`` with its done mark is complete. The mark
identifies the manifest from which the shard was built, so a shard is never attributed to another manifest. Manifest and
marks contain their own checksums.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.checksums import read_sealed, write_sealed
from adafocus_rl.data.clip_source import ClipSource
from adafocus_rl.errors import UserError
from adafocus_rl.features.arrays import ArrayWriter, open_array
from adafocus_rl.features.manifest import Manifest, arrays_of, digest, is_count, shard_count, videos_in_shard
from adafocus_rl.features.sources import Sources, write_sources
from adafocus_rl.files import naming
from adafocus_rl.folders import sync_folder

PART = ".part_"
"""Beginning of the names of unfinished shards."""

DONE = "done.json"
"""Name of the done mark."""

OPEN_SHARDS = 32
"""Largest number of a table's shards that stay open; each takes a file descriptor, of which a process has few."""

Mark = Mapping[str, Any]


@dataclass(frozen=True)
class StoredTable:
    """A table on disk.

    Attributes:
        folder: folder of its shards.
        manifest: its manifest, in the format of this version.
        marks: the done marks of the finished shards, by number.
        old_version: format version of the files if this release reads it but does not write it; otherwise None.
    """

    folder: Path
    manifest: Manifest
    marks: Mapping[int, Mark]
    old_version: int | None = None

    @property
    def name(self) -> str:
        """The table's name."""
        return str(self.manifest["table"])

    @property
    def shard_videos(self) -> int:
        """Number of videos in one shard."""
        return int(self.manifest["shard_videos"])

    @property
    def shards(self) -> int:
        """Number of shards of the complete table."""
        return shard_count(self.manifest)

    @property
    def num_bytes(self) -> int:
        """Size of the finished shards on disk."""
        names = self.array_names
        return sum(mark["bytes"][f"{name}.npy"] for mark in self.marks.values() for name in names)

    @property
    def array_names(self) -> tuple[str, ...]:
        """Names of the arrays in each shard: the table's own name, or several for ``clips`` and features in 8 bits."""
        return tuple(arrays_of(self.manifest, 0))

    def file(self, number: int, name: str) -> Path:
        """Return the path of an array of a shard."""
        return shard_folder(self.folder, number) / f"{name}.npy"

    def array(self, number: int, name: str | None = None) -> NDArray[Any]:
        """Open an array of a shard as a memory map; None names that of the features.

        Raises:
            UserError: its header or its size does not match the manifest.
        """
        name = self.name if name is None else name
        dtype, shape = arrays_of(self.manifest, videos_in_shard(self.manifest, number))[name]
        return open_array(self.file(number, name), dtype, shape)


class OpenedShards(Sequence[NDArray[Any]]):
    """The arrays of a complete table of features by shard, mapped when they are used.

    Raises:
        UserError: the header or the size of one of them does not match the manifest.
    """

    def __init__(self, table: StoredTable) -> None:
        self._count = table.shards
        for number in range(table.shards):
            table.array(number)
        self._open = lru_cache(maxsize=OPEN_SHARDS)(table.array)

    def __len__(self) -> int:
        """Return the number of shards."""
        return self._count

    def __getitem__(self, number: int) -> NDArray[Any]:  # type: ignore[override]
        """Return the array of shard ``number``."""
        if not 0 <= number < self._count:
            raise IndexError(number)
        return self._open(int(number))  # NumPy's integers are spelled differently in an array's header


def open_shards(folder: Path, manifest: Manifest) -> StoredTable:
    """Open the table of a manifest with its finished shards."""
    wanted = {f"{name}.npy" for name in arrays_of(manifest, 0)}
    return StoredTable(folder, manifest, finished_shards(folder, manifest, wanted))


def shard_folder(folder: Path, number: int) -> Path:
    """Return the folder of shard ``number``."""
    return folder / f"shard_{number:05d}"


def finished_shards(
    folder: Path, manifest: Manifest, wanted: set[str], *, with_checksums: bool = True
) -> dict[int, Mark]:
    """Return the done marks of the shards that belong to a manifest and whose files have the recorded sizes.

    Args:
        folder: folder of the shards.
        manifest: the manifest as stored on the disk.
        wanted: names of the files in each shard.
        with_checksums: whether marks without checksums are rejected.
    """
    built_from, count, videos = digest(manifest), shard_count(manifest), int(manifest["videos"])
    finished = {}
    # Iterates over the files and not over the expected numbers: a manifest can claim any number of videos.
    for path in sorted(folder.glob("shard_*")):
        number = re.fullmatch(r"shard_(\d{5,12})", path.name)
        if number is None or int(number[1]) >= count or path != shard_folder(folder, int(number[1])):
            continue
        mark = _read_mark(path, wanted, videos, with_checksums=with_checksums)
        if mark is not None and mark.get("manifest") == built_from:
            finished[int(number[1])] = mark
    return finished


def _read_mark(path: Path, wanted: set[str], videos: int, *, with_checksums: bool) -> Mark | None:
    """Return a shard's done mark; None if it is missing or damaged, or the files do not have the recorded sizes."""
    try:
        mark, intact = read_sealed(path / DONE, "done mark")
        sizes, failed, sums = mark["bytes"], mark["failed"], mark.get("checksums", {})
        known = (
            (intact or (intact is None and not with_checksums))
            and set(sizes) == wanted
            and (set(sums) == wanted or not intact)
            and all(isinstance(entry, list) and [*map(type, entry)] == [str, str] for entry in failed)
            and all(is_count(row) and row < videos for row in mark.get("rows_without_clip", []))
            and all(is_count(size) and (path / name).stat().st_size == size for name, size in sizes.items())
        )
    except (UserError, OSError, LookupError, TypeError, ValueError, AttributeError):
        return None
    return mark if known else None


def read_mark(path: Path, manifest: Manifest) -> Mark | None:
    """Return the done mark of the shard in a folder; None if it is no complete shard of the manifest's table."""
    wanted = {f"{name}.npy" for name in arrays_of(manifest, 0)}
    mark = _read_mark(path, wanted, int(manifest["videos"]), with_checksums=True)
    return mark if mark is not None and mark.get("manifest") == digest(manifest) else None


def place_shard(part: Path, table: StoredTable, number: int) -> None:
    """Rename a complete shard to its final name; the first of several processes is kept.

    Raises:
        OSError: renaming failed.
    """
    final = shard_folder(table.folder, number)
    with naming(final):
        try:
            os.replace(part, final)
        except OSError:
            # The folder exists: another process has finished the shard, or the shard was unusable.
            if read_mark(final, table.manifest) is not None:
                shutil.rmtree(part, ignore_errors=True)
                return
            shutil.rmtree(final, ignore_errors=True)
            os.replace(part, final)
    sync_folder(table.folder)


class ShardWriter:
    """Writes the rows of one shard; ``finish`` makes the shard visible.

    Several processes may write the same shard at once if their owners differ; the first that finishes is kept.

    Args:
        table: the table.
        number: the shard's number.
        owner: name of the writing process; files that a killed process of the same owner left are overwritten.
        sources: ``clip_source`` of the videos, by row; without any, no list of them is written.
        root: folder of the list's relative paths.
    """

    def __init__(
        self,
        table: StoredTable,
        number: int,
        *,
        owner: str = "",
        sources: Mapping[int, ClipSource] | None = None,
        root: Path = Path(),
    ) -> None:
        self.table = table
        self.number = number
        self._sources = sources
        self._root = root
        start = number * table.shard_videos
        self.rows = range(start, start + videos_in_shard(table.manifest, number))
        self._failed: list[tuple[str, str]] = []
        self._without: list[int] = []
        self._part = table.folder / f"{PART}{number:05d}{owner and '_'}{owner}"
        shutil.rmtree(self._part, ignore_errors=True)
        self._part.mkdir()
        self._arrays: dict[str, ArrayWriter] = {}
        try:
            for name, (dtype, shape) in arrays_of(table.manifest, len(self.rows)).items():
                fill = np.nan if name == "boxes" else 0
                self._arrays[name] = ArrayWriter(self._part / f"{name}.npy", dtype, shape, fill=fill)
        except OSError:
            self.abandon()
            raise

    def add(self, rows: NDArray[np.int64], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write rows of each array, given their index rows in ascending order.

        Raises:
            OSError: writing failed, for example because the disk is full.
        """
        for name, values in arrays.items():
            self._arrays[name].put(rows - self.rows.start, values)

    def leave_out(self, rows: list[int], failed: list[tuple[str, str]]) -> None:
        """Record the videos without a clip, by row and by (path, reason)."""
        self._without.extend(rows)
        self._failed.extend(failed)

    def finish(self) -> None:
        """Flush the arrays, write the done mark and rename the shard to its final name.

        Raises:
            OSError: writing failed, for example because the disk is full.
        """
        for array in self._arrays.values():
            array.finish()
        files = {array.path.name: array for _, array in sorted(self._arrays.items())}
        mark = {
            "manifest": digest(self.table.manifest),
            "bytes": {name: array.path.stat().st_size for name, array in files.items()},
            "checksums": {name: str(array.checksum) for name, array in files.items()},
            "failed": self._failed,
            "rows_without_clip": self._without,
        }
        if self._sources:
            clips = [None if row in self._without else self._sources.get(row) for row in self.rows]
            write_sources(self._part, Sources(os.path.realpath(self._root), clips))
        write_sealed(self._part / DONE, mark)
        place_shard(self._part, self.table, self.number)

    def abandon(self) -> None:
        """Remove an unfinished shard from the disk, which may be full."""
        for array in self._arrays.values():
            array.close()
        shutil.rmtree(self._part, ignore_errors=True)
