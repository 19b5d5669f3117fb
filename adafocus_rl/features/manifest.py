"""The manifest of a table: its content and everything that the content depends on, and nothing else.

Example of a table ``full``::

    format, format_version      kind and version of the files
    table                       "full"
    videos, frames              the first two axes
    shape, dtype                the other axes, and the type: float16, or uint8 for features in 8 bits
    shard_videos                videos in one shard; the only entry on which the content does not depend
    index, transforms           of the frames: hash of the list of videos, and the evaluation transforms
    mean, std, focus_encoder, focus_weights     the table's declared dependencies

``clips`` has ``classes`` and ``boxes`` (a hash of the file of boxes) instead of ``shape`` and ``dtype``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from adafocus_rl.checksums import read_sealed
from adafocus_rl.errors import UserError
from adafocus_rl.features.eight_bit import range_name
from adafocus_rl.features.specs import CLIPS, NAME, SCALES

BANK_FORMAT = "adafocus_rl.feature_bank"
BANK_VERSION = 3
EIGHT_BIT_VERSION = 4
"""Version of tables in 8 bits, which earlier releases cannot read; all others have ``BANK_VERSION``."""

VERSIONS = {"float16": BANK_VERSION, "uint8": EIGHT_BIT_VERSION}
"""Versions of tables of features by their type."""

MANIFEST = "manifest.json"

NOT_CONTENT = ("format_version", "shard_videos")
"""Entries that may differ, because they describe how rows are stored, not what they are."""

SIDE_ARRAYS = ("label", "multi_hot", "boxes", "valid")
"""Arrays of ``clips``."""

Manifest = Mapping[str, Any]


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a table.

    Raises:
        UserError: the manifest cannot be read, is damaged, or has a version that this release does not know.
    """
    path = folder / MANIFEST
    manifest, _ = read_sealed_manifest(path, newest=EIGHT_BIT_VERSION, oldest=BANK_VERSION)
    if wrong := _wrong_entry(manifest):
        raise no_manifest(path, f"{wrong} is missing or makes no sense")
    return manifest


def read_sealed_manifest(path: Path, *, oldest: int, newest: int) -> tuple[dict[str, Any], bool]:
    """Read a manifest of these versions without checking its entries; also return whether it has a checksum.

    Raises:
        UserError: as for ``read_manifest``.
    """
    try:
        manifest, intact = read_sealed(path, "manifest")
    except UserError as error:
        raise no_manifest(path, str(error)) from None
    if manifest.get("format") != BANK_FORMAT:
        raise no_manifest(path, f"its format is not {BANK_FORMAT}")
    version = manifest.get("format_version")
    if type(version) is not int or not oldest <= version <= newest:
        raise UserError(
            f"the feature bank in {path.parent} has format version {short(version)}, this release reads 1 to "
            f"{EIGHT_BIT_VERSION}; build it again with `adafocus features build RUN --overwrite`"
        )
    if not intact and (intact is False or version > 1):
        raise no_manifest(path, "it does not have the checksum it was written with")
    return manifest, intact is True


def no_manifest(path: Path, reason: str) -> UserError:
    """Return the error for a file that is not a manifest."""
    return UserError(
        f"{path} is not a feature bank's manifest ({reason}); delete {path.parent} and build the bank again with "
        "`adafocus features build RUN`"
    )


def _wrong_entry(manifest: Manifest) -> str | None:
    """Return the first unusable entry of those that reading a table depends on, or None."""
    name = manifest.get("table")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return "table"
    counts = ["videos", "frames", "shard_videos"]
    counts += {CLIPS: ["classes"], "local": ["grid", "frame_size", "patch_size"]}.get(name, [])
    if wrong := wrong_count(manifest, counts):
        return wrong
    if SCALES in manifest and not _is_list_of_scales(manifest[SCALES]):
        return SCALES
    if name != CLIPS and not is_shape(manifest.get("shape")):
        return "shape"
    dtype = manifest.get("dtype")
    known = isinstance(dtype, str) and VERSIONS.get(dtype) == manifest["format_version"]
    return None if name == CLIPS or known else "dtype"


def wrong_count(manifest: Manifest, names: list[str]) -> str | None:
    """Return the first of these entries that is not a positive count, or None."""
    return next((name for name in names if not is_count(manifest.get(name)) or manifest[name] == 0), None)


def is_count(value: Any) -> bool:
    """Return whether an untrusted value is a count."""
    return type(value) is int and 0 <= value < 1 << 48


def _is_list_of_scales(value: Any) -> bool:
    """Return whether an untrusted value is a list of scales of patches."""
    return isinstance(value, list) and all(type(scale) in (int, float) and 0 < scale < 1 << 48 for scale in value)


def is_shape(value: Any) -> bool:
    """Return whether an untrusted value is the shape of an array."""
    return isinstance(value, list) and len(value) < 16 and all(map(is_count, value))


def differences(found: Manifest, expected: Manifest) -> Iterator[tuple[str, str]]:
    """Yield the dotted names of the entries that differ, sorted, each with a text that contains both values."""
    then, now = _leaves(found), _leaves(json.loads(json.dumps(expected)))
    for field in sorted({*then, *now} - {*NOT_CONTENT}):
        if then.get(field) != now.get(field):
            yield field, f"{field} is {short(then.get(field))} there and {short(now.get(field))} now"


def _leaves(values: Manifest, prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted name, so that a message can name the exact option that differs."""
    leaves: dict[str, Any] = {}
    for name, value in values.items():
        nested = _leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
        leaves.update(nested)
    return leaves


def short(value: Any) -> str:
    """Format a value for a message."""
    text = json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "..."


def identity(manifest: Manifest) -> str:
    """Return a hash of the content's dependencies; two tables with the same identity hold the same features."""
    return digest({name: value for name, value in manifest.items() if name != "shard_videos"})


def digest(manifest: Manifest) -> str:
    """Return a hash of a whole manifest, which the done marks of its shards contain."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]


def shard_count(manifest: Manifest) -> int:
    """Return the number of shards of a complete table."""
    return -(-int(manifest["videos"]) // int(manifest["shard_videos"]))


def videos_in_shard(manifest: Manifest, number: int) -> int:
    """Return the number of videos in shard ``number``; the last one may have fewer than the others."""
    size = int(manifest["shard_videos"])
    return min(size, int(manifest["videos"]) - number * size)


def arrays_of(manifest: Manifest, videos: int) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Return the type and shape of every array of a shard with this number of videos, by name."""
    name, frames = manifest["table"], int(manifest["frames"])
    if name != CLIPS:
        features = {name: (np.dtype(manifest["dtype"]), (videos, frames, *manifest["shape"]))}
        ranges = {range_name(name): (np.dtype(np.float32), (videos, frames, 2))}
        return features | ranges if manifest["dtype"] == "uint8" else features
    return {
        "label": (np.dtype(np.int64), (videos,)),
        "multi_hot": (np.dtype(np.uint8), (videos, int(manifest["classes"]))),
        "boxes": (np.dtype(np.float32), (videos, frames, 4)),
        "valid": (np.dtype(np.bool_), (videos,)),
    }
