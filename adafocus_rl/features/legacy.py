"""Banks of versions 1 and 2, whose tables share one manifest and one done mark per shard; read-only.

Layout::

    manifest.json                what the whole bank was built from
    shard_00000/<table>.npy      every table, and label.npy, multi_hot.npy, boxes.npy, valid.npy
    shard_00000/done.json        the done mark of all tables of the shard

Version 1 had no checksums.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adafocus_rl.data.transform_options import TransformConfig
from adafocus_rl.errors import UserError
from adafocus_rl.features.manifest import (
    BANK_FORMAT,
    BANK_VERSION,
    MANIFEST,
    SIDE_ARRAYS,
    is_shape,
    no_manifest,
    read_sealed_manifest,
    wrong_count,
)
from adafocus_rl.features.shards import StoredTable, finished_shards
from adafocus_rl.features.specs import CLIPS, NAME

LAST_VERSION = 2

_FRAMES = ("videos", "frames", "shard_videos", "index")
_NORMALIZATION = ("mean", "std")
_FOCUS = (*_NORMALIZATION, "focus_encoder", "focus_weights")
_GLANCE = (*_NORMALIZATION, "glance_encoder", "glance_size", "glance_weights")
_DEPENDS = {
    "global_map": _GLANCE,
    "global_vector": _GLANCE,
    "local": (*_FOCUS, "grid", "frame_size", "patch_size"),
    "full": _FOCUS,
    "thumbnail": _NORMALIZATION,
}
"""Entries of these versions' manifests on which each table depends."""


def open_old_tables(folder: Path) -> dict[str, StoredTable]:
    """Open the tables of a bank of version 1 or 2, by name; an empty dict if there is no such bank.

    Raises:
        UserError: the manifest is damaged, or has a version that this release does not know.
    """
    path = folder / MANIFEST
    if not path.exists():
        return {}
    manifest, _ = read_sealed_manifest(path, oldest=1, newest=LAST_VERSION)
    if wrong := _wrong_entry(manifest):
        raise no_manifest(path, f"{wrong} is missing or makes no sense")
    names = (*manifest["tables"], *SIDE_ARRAYS)
    version = int(manifest["format_version"])
    wanted = {f"{name}.npy" for name in names}
    marks = finished_shards(folder, manifest, wanted, with_checksums=version >= LAST_VERSION)
    return {
        name: StoredTable(folder, _manifest_of(name, manifest), marks, old_version=version)
        for name in (CLIPS, *(name for name in manifest["tables"] if name in _DEPENDS))
    }


def _wrong_entry(manifest: Mapping[str, Any]) -> str | None:
    """Return the first unusable entry of those that reading a bank depends on, or None."""
    counts = ["videos", "frames", "classes", "grid", "frame_size", "patch_size", "shard_videos"]
    if wrong := wrong_count(manifest, counts):
        return wrong
    tables = manifest.get("tables")
    if not isinstance(tables, dict):
        return "tables"
    for name, table in tables.items():
        if not isinstance(table, dict) or not is_shape(table.get("shape")) or table.get("dtype") != "float16":
            return f"tables.{name}"
        # The name becomes part of a file name.
        if not NAME.fullmatch(name):
            return f"tables.{name}"
    return None


def _manifest_of(name: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest that a table would have in the current version."""
    depends = ("classes", "boxes") if name == CLIPS else _DEPENDS[name]
    return {
        "format": BANK_FORMAT,
        "format_version": BANK_VERSION,
        "table": name,
        "transforms": _evaluation(manifest.get("transforms")),
        **({} if name == CLIPS else manifest["tables"][name]),
        **{entry: manifest.get(entry) for entry in (*_FRAMES, *depends)},
    }


def _evaluation(transforms: Any) -> Any:
    """Return the evaluation transforms; invalid transforms are returned as they are, which matches no dataset."""
    try:
        config = TransformConfig(frame_size=transforms["frame_size"], resize_short=transforms["resize_short"])
        return {"frame_size": config.frame_size, "short_side": config.short_side}
    except (UserError, LookupError, TypeError, ValueError, OverflowError):
        return transforms
