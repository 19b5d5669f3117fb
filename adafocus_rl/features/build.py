"""Filling a feature bank: every table of every video, shard by shard, resumable."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adafocus_rl.checkpoint import tensors_hash
from adafocus_rl.data.dataset import ClipDataset, make_loader
from adafocus_rl.features.shards import (
    BANK_FORMAT,
    BANK_VERSION,
    ShardWriter,
    check_manifest,
    finished_shards,
    read_manifest,
    write_json,
)
from adafocus_rl.models.recognizer import Recognizer

TableFunction = Callable[[Recognizer, Tensor], Tensor]
"""From the recognizer and prepared frames (N, 3, S, S) to one row per frame (N, …)."""


def _local(recognizer: Recognizer, frames: Tensor) -> Tensor:
    actions = torch.arange(recognizer.grid.num_actions, device=frames.device)
    origins = recognizer.grid.action_origin(actions).expand(len(frames), -1, -1)
    patches = recognizer.grid.crop(frames, origins)
    return recognizer.focus_features(patches.flatten(0, 1)).unflatten(0, origins.shape[:2])


DEFAULT_TABLES: Mapping[str, TableFunction] = {
    "global_map": lambda recognizer, frames: recognizer.glance_features(frames)[0],
    "global_vector": lambda recognizer, frames: recognizer.glance_features(frames)[1],
    "local": _local,
    "full": lambda recognizer, frames: recognizer.full_features(frames),
}


def expected_manifest(
    recognizer: Recognizer,
    dataset: ClipDataset,
    *,
    tables: Mapping[str, TableFunction] = DEFAULT_TABLES,
    shard_videos: int = 64,
) -> dict[str, Any]:
    """What a bank of this recognizer on this dataset says of itself; any difference on disk makes a bank stale."""
    side = recognizer.grid.frame_size
    device = next(recognizer.parameters()).device
    with torch.no_grad():
        frame = torch.zeros(1, 3, side, side, device=device)
        shapes = {name: list(function(recognizer, frame).shape[1:]) for name, function in tables.items()}
    parts = recognizer.parts()
    return {
        "format": BANK_FORMAT,
        "format_version": BANK_VERSION,
        "videos": len(dataset),
        "frames": dataset.num_frames,
        "classes": dataset.num_classes,
        "grid": recognizer.grid.grid,
        "frame_size": side,
        "patch_size": recognizer.grid.patch_size,
        "shard_videos": shard_videos,
        "tables": {name: {"shape": shape, "dtype": "float16"} for name, shape in shapes.items()},
        "glance_weights": tensors_hash(parts["glance"]),
        "focus_weights": tensors_hash(parts["focus"]),
        "index": dataset.index.hash(),
        "transforms": asdict(dataset.config),
    }


@torch.no_grad()
def build_bank(
    folder: Path,
    recognizer: Recognizer,
    dataset: ClipDataset,
    *,
    device: torch.device,
    workers: int = 0,
    shard_videos: int = 64,
    chunk_videos: int = 4,
    tables: Mapping[str, TableFunction] = DEFAULT_TABLES,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Builds, or finishes building, the bank in ``folder``.

    Args:
        folder: the bank's own folder; made when missing.
        recognizer: frozen f_G and f_L.
        dataset: clips with the evaluation transforms, so that a video has one set of features.
        device: where the encoders run.
        workers: decoding processes.
        shard_videos: videos in one shard, the unit of resuming.
        chunk_videos: videos encoded at once; bounds memory: chunk·T·A patches of P×P.
        tables: name → function of frames; a method adds its own to :data:`DEFAULT_TABLES`.
        overwrite: discard a bank that was built from something else, instead of refusing.
        progress: called with (videos done, videos in all).

    Raises:
        UserError: when the folder holds a bank built from something else; the differing field is named.
    """
    recognizer.to(device).eval()
    manifest = expected_manifest(recognizer, dataset, tables=tables, shard_videos=shard_videos)
    if overwrite and folder.exists():
        shutil.rmtree(folder)
    if (folder / "manifest.json").exists():
        check_manifest(folder, read_manifest(folder), manifest)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "manifest.json", manifest)
    done = finished_shards(folder, manifest)
    total = len(dataset)
    shards = {n: range(n * shard_videos, min((n + 1) * shard_videos, total)) for n in range(-(-total // shard_videos))}
    finished = sum(len(shards[number]) for number in done)
    chunks = [
        (number, list(rows[start : start + chunk_videos]))
        for number, rows in shards.items()
        if number not in done
        for start in range(0, len(rows), chunk_videos)
    ]
    loader = make_loader(dataset, batches=[rows for _, rows in chunks], workers=workers)
    writer: ShardWriter | None = None
    for (number, rows), batch in zip(chunks, loader, strict=True):
        if writer is None or writer.number != number:
            writer = ShardWriter(folder, number, shards[number], manifest)
        if len(batch.videos):
            frames = recognizer.prepare(batch.clips.to(device)).flatten(0, 1)
            features = {name: function(recognizer, frames) for name, function in tables.items()}
            writer.add(batch, {name: rows_.unflatten(0, batch.clips.shape[:2]) for name, rows_ in features.items()})
        writer.failed.extend(batch.failed)
        if rows[-1] == shards[number][-1]:
            writer.finish()
        finished += len(rows)
        if progress:
            progress(finished, total)
