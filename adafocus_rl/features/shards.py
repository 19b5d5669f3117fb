"""The bank on disk: a JSON manifest, and shards of ``.npy`` tables that appear all at once when they are complete.

Layout::

    manifest.json                what the bank was built from
    shard_00000/<table>.npy      float16 (videos of the shard, T, …)
    shard_00000/label.npy        int64 (videos,);  multi_hot.npy uint8;  boxes.npy float32;  valid.npy bool
    shard_00000/done.json        the done mark: the manifest's hash, file sizes, and the videos that gave no clip

A shard is written under a temporary name and renamed, so a folder ``shard_…`` with its done mark is whole. The mark
names the manifest that the shard was built from, so a shard that outlives its manifest is not taken for another's.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from torch import Tensor

from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.errors import UserError
from adafocus_rl.files import write_json

BANK_FORMAT = "adafocus_rl.feature_bank"
BANK_VERSION = 1
SIDE_TABLES = ("label", "multi_hot", "boxes", "valid")
"""What a shard holds beside the features."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bank.

    Raises:
        UserError: when there is no bank in the folder or its manifest cannot be read.
    """
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"no feature bank in {folder}; build one with `adafocus features build RUN`") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise UserError(f"{path} is not a feature bank's manifest; delete {folder} and build the bank again") from None
    if not isinstance(manifest, dict) or manifest.get("format") != BANK_FORMAT:
        raise UserError(f"{path} is not a feature bank's manifest; delete {folder} and build the bank again")
    if manifest.get("format_version") != BANK_VERSION:
        raise UserError(
            f"the feature bank in {folder} has format version {manifest.get('format_version')}, this release reads "
            f"{BANK_VERSION}; build it again with `adafocus features build RUN --overwrite`"
        )
    return manifest


def check_manifest(folder: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuses a stale bank.

    Raises:
        UserError: naming the first field that differs and both values.
    """
    then, now = _leaves(found), _leaves(json.loads(json.dumps(expected)))
    for field in sorted(set(then) | set(now)):
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


def finished_shards(folder: Path, manifest: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Done marks of the shards that belong to this manifest and whose files have the sizes they were written with."""
    wanted = {f"{name}.npy" for name in (*manifest["tables"], *SIDE_TABLES)}
    digest = _manifest_hash(manifest)
    finished = {}
    for number in range(shard_count(manifest)):
        path = shard_folder(folder, number)
        try:
            mark = json.loads((path / "done.json").read_text())
            whole = (
                mark["manifest"] == digest
                and set(mark["bytes"]) == wanted
                and all((path / name).stat().st_size == size for name, size in mark["bytes"].items())
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if whole:
            finished[number] = mark
    return finished


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
    """Collects one shard's rows in memmaps; :meth:`finish` makes it visible.

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
        videos, frames = len(rows), int(manifest["frames"])
        self._tables = {
            name: self._table(name, np.dtype(table["dtype"]), (videos, frames, *table["shape"]))
            for name, table in manifest["tables"].items()
        }
        classes = int(manifest["classes"])
        self._tables["label"] = self._table("label", np.dtype(np.int64), (videos,))
        self._tables["multi_hot"] = self._table("multi_hot", np.dtype(np.uint8), (videos, classes))
        self._tables["boxes"] = self._table("boxes", np.dtype(np.float32), (videos, frames, 4))
        self._tables["valid"] = self._table("valid", np.dtype(np.bool_), (videos,))
        self._tables["boxes"][:] = np.nan  # also where no clip comes

    def _table(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.memmap[Any, Any]:
        return open_memmap(self._part / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)

    def add(self, batch: ClipBatch, features: Mapping[str, Tensor]) -> None:
        """Writes the rows of a batch: features (B, T, …) by table name.

        Raises:
            UserError: when a feature is NaN or too large for float16.
        """
        at = batch.videos.numpy() - self.rows.start
        for name, values in features.items():
            rows = values.half().cpu().numpy()
            if not np.isfinite(rows).all():
                raise UserError(
                    f"the {name} features of {len(rows)} videos are not all finite in float16 (largest: "
                    f"{float(values.abs().max()):.3g}); the encoder's training diverged: train it with a lower rate"
                )
            self._tables[name][at] = rows
        self._tables["label"][at] = batch.labels.numpy()
        self._tables["multi_hot"][at] = batch.multi_hot.numpy()
        self._tables["boxes"][at] = batch.boxes.numpy()
        self._tables["valid"][at] = True

    def finish(self) -> None:
        """Flushes, writes the done mark and renames the shard to its final name."""
        for table in self._tables.values():
            table.flush()
        self._tables.clear()
        sizes = {path.name: path.stat().st_size for path in sorted(self._part.glob("*.npy"))}
        mark = {"manifest": _manifest_hash(self._manifest), "bytes": sizes, "failed": self.failed}
        write_json(self._part / "done.json", mark)
        final = shard_folder(self.folder, self.number)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(self._part, final)
