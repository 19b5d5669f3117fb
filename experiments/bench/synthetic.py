"""A feature bank of random numbers in the paper's sizes, for benchmarks without videos and encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from adafocus_rl.features import FeatureBank, TableStore
from adafocus_rl.features.manifest import BANK_FORMAT, BANK_VERSION
from adafocus_rl.features.shards import ShardWriter
from adafocus_rl.features.specs import CLIPS

MAPS = (1280, 7, 7)
"""MobileNet-V2's maps of frames of 224 pixels."""

UNLIKE = 64
"""Largest number of videos with different features."""

LOCAL_DIM = 2048
"""ResNet-50's vectors."""


def paper_bank(
    folder: Path,
    *,
    videos: int,
    device: torch.device,
    frames: int = 16,
    grid: int = 7,
    classes: int = 200,
    patch_size: int = 128,
) -> FeatureBank:
    """Write a bank of random features in the paper's sizes, and open it.

    Args:
        folder: folder to write it in.
        videos: number of videos; each takes 5.3 MB with the other defaults. The features of those after the first
            ``UNLIKE`` repeat earlier ones, which does not matter for speed, and takes less time to make.
        device: device of the opened bank.
        frames: T.
        grid: patch positions per side.
        classes: K.
        patch_size: P in pixels of a frame of 224.
    """
    random = np.random.default_rng(0)
    store = TableStore(folder)
    shapes = {
        "global_map": MAPS,
        "global_vector": MAPS[:1],
        "local": (grid * grid, LOCAL_DIM),
        "full": (LOCAL_DIM,),
        "thumbnail": (32, 32),
    }
    common = {
        "format": BANK_FORMAT,
        "format_version": BANK_VERSION,
        "videos": videos,
        "frames": frames,
        "index": "synthetic",
        "transforms": {},
        "shard_videos": videos,
    }
    patches = {"grid": grid, "frame_size": 224, "patch_size": patch_size}
    tables: dict[str, dict[str, Any]] = {CLIPS: {"classes": classes, "boxes": None}}
    for name, shape in shapes.items():
        tables[name] = {"shape": [*shape], "dtype": "float16", **(patches if name == "local" else {})}
    labels = random.integers(classes, size=videos)
    rows = np.arange(videos)
    for name, entries in tables.items():
        writer = ShardWriter(store.begin({**common, "table": name, **entries}), 0)
        if name == CLIPS:
            arrays: dict[str, Any] = {
                "label": labels,
                "multi_hot": np.eye(classes, dtype=np.bool_)[labels],
                "boxes": np.full((videos, frames, 4), np.nan, dtype=np.float32),
                "valid": np.ones(videos, dtype=np.bool_),
            }
        else:
            # Features after a ReLU are not negative.
            values = np.abs(random.standard_normal((min(videos, UNLIKE), frames, *shapes[name]), dtype=np.float32))
            arrays = {name: values.astype(np.float16)[rows % UNLIKE]}
        writer.add(rows, arrays)
        writer.finish()
    return FeatureBank(store, device=device)
