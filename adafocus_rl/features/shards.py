"""The bank on disk: a JSON manifest, and shards of ``.npy`` tables that appear all at once when they are complete.

Layout::

    manifest.json                what the bank was built from
    shard_00000/<table>.npy      float16 (videos of the shard, T, …)
    shard_00000/label.npy        int64 (videos,);  multi_hot.npy uint8;  boxes.npy float32;  valid.npy bool
    shard_00000/done.json        the done mark: the manifest's hash, the files' sizes and checksums, and the videos that
                                 gave no clip

A shard is written under a temporary name and renamed, so a folder ``shard_…`` with its done mark is whole. The mark
names the manifest that the shard was built from, so a shard that outlives its manifest is not taken for another's.
Manifest and marks carry checksums of themselves. Version 1 had no checksums, and is still read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from adafocus_rl.checksums import read_sealed, write_sealed
from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.errors import UserError
from adafocus_rl.features.tables import TableWriter
from adafocus_rl.files import naming, sync_folder

BANK_FORMAT = "adafocus_rl.feature_bank"
BANK_VERSION = 2
FIRST_WITH_CHECKSUMS = 2
SIDE_TABLES = ("label", "multi_hot", "boxes", "valid")
"""What a shard holds beside the features."""


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Begins a bank."""
    write_sealed(folder / "manifest.json", manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bank.

    Raises:
        UserError: when there is no bank in the folder, its manifest cannot be read or is damaged, or is of a version
            that this release does not know.
    """
    path = folder / "manifest.json"
    if not path.exists():
        raise UserError(f"no feature bank in {folder}; build one with `adafocus features build RUN`")
    try:
        manifest, intact = read_sealed(path, "manifest")
    except UserError as error:
        raise _no_manifest(path, str(error)) from None
    if manifest.get("format") != BANK_FORMAT:
        raise _no_manifest(path, f"its format is not {BANK_FORMAT}")
    version = manifest.get("format_version")
    if type(version) is not int or not 1 <= version <= BANK_VERSION:
        raise UserError(
            f"the feature bank in {folder} has format version {_short(version)}, this release reads 1 to "
            f"{BANK_VERSION}; build it again with `adafocus features build RUN --overwrite`"
        )
    if not intact and (intact is False or version >= FIRST_WITH_CHECKSUMS):
        raise _no_manifest(path, "it does not have the checksum it was written with")
    if wrong := _wrong_entry(manifest):
        raise _no_manifest(path, f"{wrong} is missing or makes no sense")
    return manifest


def _no_manifest(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path} is not a feature bank's manifest ({reason}); delete {path.parent} and build the bank again with "
        "`adafocus features build RUN`"
    )


def _wrong_entry(manifest: Mapping[str, Any]) -> str | None:
    """The first entry that cannot be used, of those that reading a bank depends on."""
    for name in ("videos", "frames", "classes", "grid", "frame_size", "patch_size", "shard_videos"):
        if not _is_count(manifest.get(name)) or manifest[name] == 0:
            return name
    tables = manifest.get("tables")
    if not isinstance(tables, dict):
        return "tables"
    for name, table in tables.items():
        shape = table.get("shape") if isinstance(table, dict) else None
        known = isinstance(shape, list) and len(shape) < 16 and all(map(_is_count, shape))
        # The name becomes a file's.
        if not known or table.get("dtype") != "float16" or not re.fullmatch(r"\w[\w.-]{0,99}", name):
            return f"tables.{name}"
    return None


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 48


def check_manifest(folder: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuses a stale bank. One of an older version is not stale for it.

    Raises:
        UserError: naming the first field that differs and both values.
    """
    then, now = _leaves(found), _leaves(json.loads(json.dumps(expected)))
    for field in sorted({*then, *now} - {"format_version"}):
        if then.get(field) != now.get(field):
            raise UserError(
                f"the feature bank in {folder} is stale: {field} is {_short(then.get(field))} there and "
                f"{_short(now.get(field))} now; rebuild it with `adafocus features build RUN --overwrite`"
            )


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted name, so that a message can tell the very option that differs."""
    leaves: dict[str, Any] = {}
    for name, value in values.items():
        nested = _leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
        leaves.update(nested)
    return leaves


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "..."


def shard_folder(folder: Path, number: int) -> Path:
    """Where shard ``number`` lies."""
    return folder / f"shard_{number:05d}"


def shard_count(manifest: Mapping[str, Any]) -> int:
    """Number of shards of a complete bank."""
    return -(-int(manifest["videos"]) // int(manifest["shard_videos"]))


def tables_of(manifest: Mapping[str, Any], videos: int) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Type and shape of every table of a shard of some videos, by name."""
    frames, classes = int(manifest["frames"]), int(manifest["classes"])
    features = {
        name: (np.dtype(table["dtype"]), (videos, frames, *table["shape"]))
        for name, table in manifest["tables"].items()
    }
    side = {
        "label": (np.dtype(np.int64), (videos,)),
        "multi_hot": (np.dtype(np.uint8), (videos, classes)),
        "boxes": (np.dtype(np.float32), (videos, frames, 4)),
        "valid": (np.dtype(np.bool_), (videos,)),
    }
    return {**features, **side}


def videos_in_shard(manifest: Mapping[str, Any], number: int) -> int:
    """How many videos shard ``number`` holds; the last one may have fewer than the others."""
    size = int(manifest["shard_videos"])
    return min(size, int(manifest["videos"]) - number * size)


def finished_shards(folder: Path, manifest: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Done marks of the shards that belong to this manifest and whose files have the sizes they were written with."""
    digest = _manifest_hash(manifest)
    wanted = {f"{name}.npy" for name in (*manifest["tables"], *SIDE_TABLES)}
    count = shard_count(manifest)
    finished = {}
    # What is there, and not what may be: a manifest can claim any number of videos.
    for path in sorted(folder.glob("shard_*")):
        number = re.fullmatch(r"shard_(\d{5,12})", path.name)
        if number is None or int(number[1]) >= count or path != shard_folder(folder, int(number[1])):
            continue
        mark = _read_mark(path, wanted, with_checksums=manifest["format_version"] >= FIRST_WITH_CHECKSUMS)
        if mark is not None and mark["manifest"] == digest:
            finished[int(number[1])] = mark
    return finished


def _read_mark(path: Path, wanted: set[str], *, with_checksums: bool) -> dict[str, Any] | None:
    """A shard's done mark; None where it is missing or damaged, or the files are not of the sizes that it names."""
    try:
        mark, intact = read_sealed(path / "done.json", "done mark")
        sizes, failed, sums = mark["bytes"], mark["failed"], mark.get("checksums", {})
        known = (
            (intact or (intact is None and not with_checksums))
            and set(sizes) == wanted
            and (set(sums) == wanted or not intact)
            and all(isinstance(entry, list) and [*map(type, entry)] == [str, str] for entry in failed)
            and all(_is_count(size) and (path / name).stat().st_size == size for name, size in sizes.items())
        )
    except (UserError, OSError, LookupError, TypeError, ValueError, AttributeError):
        return None
    return mark if known else None


def remove_bank(folder: Path) -> None:
    """Removes a bank, whole or not; nothing happens where there is none.

    Raises:
        UserError: when the folder holds anything else, which is not ours to remove.
    """
    if not folder.exists():
        return
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(("manifest.json", ".manifest.json", "shard_", ".part_")):
            raise UserError(f"{folder} holds {path.name}, which is no part of a feature bank; give another folder")
    shutil.rmtree(folder)


def _manifest_hash(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]


class ShardWriter:
    """Writes one shard's rows as they come; :meth:`finish` makes it visible.

    Args:
        folder: the bank's folder.
        number: the shard's number.
        rows: index rows of the shard's videos.
        manifest: the bank's manifest (table shapes).
    """

    def __init__(self, folder: Path, number: int, rows: range, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.number = number
        self.rows = rows
        self.failed: list[tuple[str, str]] = []
        self._manifest = manifest
        self._part = folder / f".part_{number:05d}"
        shutil.rmtree(self._part, ignore_errors=True)
        self._part.mkdir()
        tables = tables_of(manifest, len(rows))
        # Small, so they are kept until the end.
        self._side = {name: np.zeros(tables[name][1], dtype=tables[name][0]) for name in SIDE_TABLES}
        self._side["boxes"][:] = np.nan  # also where no clip comes
        self._files: dict[str, TableWriter] = {}
        for name, (dtype, shape) in tables.items():
            self._files[name] = TableWriter(self._part / f"{name}.npy", dtype, shape)

    def add(self, batch: ClipBatch, features: Mapping[str, Tensor]) -> None:
        """Writes the rows of a batch: features (B, T, …) by table name; batches come in the order of the index.

        Raises:
            UserError: when a feature is NaN or too large for float16.
            OSError: the disk is full, say.
        """
        at = batch.rows.numpy() - self.rows.start
        for name, values in features.items():
            rows = values.half().cpu().numpy()
            if not np.isfinite(rows).all():
                raise UserError(
                    f"the {name} features of {len(rows)} videos are not all finite in float16 (largest: "
                    f"{float(values.abs().max()):.3g}); the encoder's training diverged: train it with a lower rate"
                )
            self._files[name].put(at, rows)
        self._side["label"][at] = batch.labels.numpy()
        self._side["multi_hot"][at] = batch.multi_hot.numpy()
        self._side["boxes"][at] = batch.true_boxes.numpy()
        self._side["valid"][at] = True

    def finish(self) -> None:
        """Flushes, writes the done mark and renames the shard to its final name.

        Raises:
            OSError: the disk is full, say.
        """
        for name, values in self._side.items():
            self._files[name].put(np.arange(len(values)), values)
        for file in self._files.values():
            file.finish()
        paths = {file.path.name: file for file in self._files.values()}
        mark = {
            "manifest": _manifest_hash(self._manifest),
            "bytes": {name: file.path.stat().st_size for name, file in sorted(paths.items())},
            "checksums": {name: str(file.checksum) for name, file in sorted(paths.items())},
            "failed": self.failed,
        }
        write_sealed(self._part / "done.json", mark)
        final = shard_folder(self.folder, self.number)
        with naming(final):
            shutil.rmtree(final, ignore_errors=True)
            os.replace(self._part, final)
        sync_folder(self.folder)

    def abandon(self) -> None:
        """Gives back what an unfinished shard takes of the disk, which may be full."""
        for file in self._files.values():
            file.close()
        shutil.rmtree(self._part, ignore_errors=True)
