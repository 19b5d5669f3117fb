"""Expected manifests of a recognizer's tables."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.errors import UserError
from adafocus_rl.features.manifest import BANK_FORMAT, BANK_VERSION, VERSIONS
from adafocus_rl.features.options import Precision
from adafocus_rl.features.specs import CLIPS, DEFAULT_TABLES, EncodedFrames, TableSpec
from adafocus_rl.models.recognizer import Recognizer


class _BlankFrame(EncodedFrames):
    """A black frame, from which the shapes of features are read."""

    @cached_property
    def patches(self) -> Tensor:
        """(1, A, D_L): f_L on one patch, for all positions, because a CPU takes a second for all patches of a frame."""
        side = self.recognizer.grid.patch_size
        vector = self.recognizer.focus_features(self.frames[..., :side, :side])
        return vector[:, None].expand(-1, self.recognizer.num_actions, -1)


@torch.no_grad()
def row_shapes(recognizer: Recognizer, tables: Iterable[TableSpec]) -> dict[str, list[int]]:
    """Return the shape of each table's row of one frame, by name; the encoders run on one black frame."""
    side = recognizer.grid.frame_size
    with recognizer.freeze("glance", "focus"):
        frame = _BlankFrame(recognizer, torch.zeros(1, 1, 3, side, side))
        return {spec.name: list(spec.fill(frame).shape[1:]) for spec in tables}


def dtype_of(table: str, eight_bit: Collection[str]) -> str:
    """Return the type in which a table of features is stored, given the names of those in 8 bits."""
    return "uint8" if table in eight_bit else "float16"


@torch.no_grad()
def expected_manifests(
    recognizer: Recognizer,
    dataset: ClipDataset,
    *,
    tables: Iterable[TableSpec] = DEFAULT_TABLES,
    precision: Precision = "float32",
    eight_bit: Collection[str] = (),
) -> dict[str, dict[str, Any]]:
    """Return the manifests of this recognizer's tables on this dataset, by name; any difference makes a table stale.

    ``clips`` comes first. The content of video files is not read: after replacing a file under the same name, rebuild
    the tables.

    Args:
        recognizer: frozen f_G and f_L.
        dataset: clips with the evaluation transforms.
        tables: tables besides ``clips``.
        precision: precision in which the encoders compute; part of the manifest unless it is float32.
        eight_bit: names of the tables that are stored in 8 bits.

    Raises:
        UserError: the encoders process the frames of a clip together.
        ValueError: the dataset has training transforms, with which a video has other features at every visit.
    """
    if recognizer.clip_frames is not None:
        raise UserError(
            "a bank holds features of single frames, and these encoders look at a clip's frames together; use live "
            "features (stage2.features=live, stage3.features=live)"
        )
    if dataset.train:
        raise ValueError("a bank holds one set of features per video; give the dataset with the evaluation transforms")
    frames = {
        "videos": len(dataset),
        "frames": dataset.num_frames,
        "index": dataset.index.hash(),
        # Options that only augment training clips are left out.
        "transforms": {"frame_size": dataset.config.frame_size, "short_side": dataset.config.short_side},
    }
    boxes = dataset.index.boxes_file
    kinds: dict[str, dict[str, Any]] = {
        CLIPS: {
            "classes": dataset.num_classes,
            "boxes": hashlib.sha256(boxes.read_bytes()).hexdigest()[:16] if boxes else None,
        }
    }
    specs = tuple(tables)
    shapes = row_shapes(recognizer, specs)
    # Each function is called once, because hashing an encoder's weights takes time.
    values = {depends: depends(recognizer) for depends in dict.fromkeys(d for spec in specs for d in spec.depends)}
    for spec in specs:
        kinds[spec.name] = {"shape": shapes[spec.name], "dtype": dtype_of(spec.name, eight_bit)}
        for depends in spec.depends:
            kinds[spec.name] |= values[depends]
        if precision != "float32":
            kinds[spec.name]["precision"] = precision
    return {
        name: {
            "format": BANK_FORMAT,
            "format_version": VERSIONS[kind["dtype"]] if "dtype" in kind else BANK_VERSION,
            "table": name,
            **frames,
            **kind,
        }
        for name, kind in kinds.items()
    }
