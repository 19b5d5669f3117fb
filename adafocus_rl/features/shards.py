"""A table on disk: its manifest, and shards that appear all at once when they are complete.

Layout of a table's folder::

    manifest.json                what the table holds and depends on
    shard_00000/<table>.npy      float16 (videos of the shard, T, …)
    shard_00000/done.json        the done mark: the manifest's hash, the files' sizes and checksums, and the videos that
                                 gave no clip

The table ``clips`` has ``label.npy`` (int64), ``multi_hot.npy`` (uint8), ``boxes.npy`` (float32) and ``valid.npy``
(bool) in each shard.

A shard is written under a temporary name and renamed, so a folder ``shard_…`` with its done mark is whole. The mark
names the manifest that the shard was built from, so a shard that outlives its manifest is not taken for another's.
Manifest and marks carry checksums of themselves.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.checksums import read_sealed, write_sealed
from adafocus_rl.errors import UserError
from adafocus_rl.features.arrays import ArrayWriter, open_array
from adafocus_rl.features.manifest import Manifest, arrays_of, digest, is_count, shard_count, videos_in_shard
from adafocus_rl.files import naming, sync_folder

PART = ".part_"
"""How the names of unfinished shards begin."""

Mark = Mapping[str, Any]


@dataclass(frozen=True)
class StoredTable:
    """A table on disk.

    Attributes:
        folder: where its shards lie.
        manifest: what it holds, as this version says it.
        marks: the done marks of the shards that are finished, by number.
        old_version: of the files, if this release reads them but does not add to them.
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
        """Videos in one shard."""
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
        """Names of the arrays in each shard: the table's own, or several of ``clips``."""
        return tuple(arrays_of(self.manifest, 0))

    def file(self, number: int, name: str) -> Path:
        """Where an array of a shard lies."""
        return shard_folder(self.folder, number) / f"{name}.npy"

    def array(self, number: int, name: str | None = None) -> NDArray[Any]:
        """An array of a shard, memory-mapped; without a name the only one.

        Raises:
            UserError: its header or its size is not what the manifest says.
        """
        name = self.name if name is None else name
        dtype, shape = arrays_of(self.manifest, videos_in_shard(self.manifest, number))[name]
        return open_array(self.file(number, name), dtype, shape)


def open_shards(folder: Path, manifest: Manifest) -> StoredTable:
    """The table of a manifest with the shards that are finished."""
    wanted = {f"{name}.npy" for name in arrays_of(manifest, 0)}
    return StoredTable(folder, manifest, finished_shards(folder, manifest, wanted))


def shard_folder(folder: Path, number: int) -> Path:
    """Where shard ``number`` lies."""
    return folder / f"shard_{number:05d}"


def finished_shards(
    folder: Path, manifest: Manifest, wanted: set[str], *, with_checksums: bool = True
) -> dict[int, Mark]:
    """Done marks of the shards that belong to a manifest and whose files have the sizes they were written with.

    Args:
        folder: where they lie.
        manifest: as it stands on the disk.
        wanted: names of the files in each shard.
        with_checksums: whether marks without them are refused.
    """
    built_from, count, videos = digest(manifest), shard_count(manifest), int(manifest["videos"])
    finished = {}
    # What is there, and not what may be: a manifest can claim any number of videos.
    for path in sorted(folder.glob("shard_*")):
        number = re.fullmatch(r"shard_(\d{5,12})", path.name)
        if number is None or int(number[1]) >= count or path != shard_folder(folder, int(number[1])):
            continue
        mark = _read_mark(path, wanted, videos, with_checksums=with_checksums)
        if mark is not None and mark.get("manifest") == built_from:
            finished[int(number[1])] = mark
    return finished


def _read_mark(path: Path, wanted: set[str], videos: int, *, with_checksums: bool) -> Mark | None:
    """A shard's done mark; None where it is missing or damaged, or the files are not of the sizes that it names."""
    try:
        mark, intact = read_sealed(path / "done.json", "done mark")
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


class ShardWriter:
    """Writes one shard's rows as they come; ``finish`` makes it visible.

    Several processes may write the same shard at once if their owners differ: the first one that finishes is kept.

    Args:
        table: the table.
        number: the shard's number.
        owner: who writes; what a killed process of the same owner left is overwritten.
    """

    def __init__(self, table: StoredTable, number: int, *, owner: str = "") -> None:
        self.table = table
        self.number = number
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
        """Write rows of each array; rows of the index come in ascending order.

        Raises:
            OSError: the disk is full, say.
        """
        for name, values in arrays.items():
            self._arrays[name].put(rows - self.rows.start, values)

    def leave_out(self, rows: list[int], failed: list[tuple[str, str]]) -> None:
        """Take down the videos, by row and by (path, reason), that gave no clip."""
        self._without.extend(rows)
        self._failed.extend(failed)

    def finish(self) -> None:
        """Flushes, writes the done mark and renames the shard to its final name.

        Raises:
            OSError: the disk is full, say.
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
        write_sealed(self._part / "done.json", mark)
        final = shard_folder(self.table.folder, self.number)
        with naming(final):
            try:
                os.replace(self._part, final)
            except OSError:
                # There is one already: finished by another process, or what could not be used.
                if self.number in open_shards(self.table.folder, self.table.manifest).marks:
                    shutil.rmtree(self._part, ignore_errors=True)
                    return
                shutil.rmtree(final, ignore_errors=True)
                os.replace(self._part, final)
        sync_folder(self.table.folder)

    def abandon(self) -> None:
        """Give back what an unfinished shard takes of the disk, which may be full."""
        for array in self._arrays.values():
            array.close()
        shutil.rmtree(self._part, ignore_errors=True)
