"""Filling a feature bank: every table of every video, shard by shard, resumable."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adafocus_rl.checkpoint import tensors_hash
from adafocus_rl.data.dataset import ClipDataset, make_loader
from adafocus_rl.errors import UserError
from adafocus_rl.features.motion import thumbnails
from adafocus_rl.features.shards import (
    BANK_FORMAT,
    BANK_VERSION,
    ShardWriter,
    check_manifest,
    finished_shards,
    read_manifest,
    remove_bank,
    shard_count,
    write_manifest,
)
from adafocus_rl.models.recognizer import Recognizer

TableFunction = Callable[[Recognizer, Tensor], Mapping[str, Tensor]]
"""From the recognizer and prepared frames (N, 3, S, S) to one row per frame (N, …) of each table it fills."""

MAX_PATCH_PIXELS = 1 << 22
"""Pixels of the patches that f_L sees at once (256 patches of 128²); bounds memory, whatever the grid."""


def glance_tables(recognizer: Recognizer, frames: Tensor) -> dict[str, Tensor]:
    """``global_map`` (N, C, h, w) and ``global_vector`` (N, D_G): f_G on whole frames."""
    maps, vectors = recognizer.glance_features(frames)
    return {"global_map": maps, "global_vector": vectors}


def local_table(recognizer: Recognizer, frames: Tensor) -> dict[str, Tensor]:
    """``local`` (N, A, D_L): f_L on the patch at every grid position."""
    grid = recognizer.grid
    origins = grid.action_origin(torch.arange(grid.num_actions, device=frames.device))
    rows = max(1, MAX_PATCH_PIXELS // (grid.num_actions * grid.patch_size**2))
    parts = []
    for part in frames.split(rows):
        patches = grid.crop(part, origins.expand(len(part), -1, -1))
        parts.append(recognizer.focus_features(patches.flatten(0, 1)).unflatten(0, (len(part), -1)))
    return {"local": torch.cat(parts)}


def full_table(recognizer: Recognizer, frames: Tensor) -> dict[str, Tensor]:
    """``full`` (N, D_L): f_L on whole frames."""
    return {"full": recognizer.full_features(frames)}


def thumbnail_table(recognizer: Recognizer, frames: Tensor) -> dict[str, Tensor]:
    """``thumbnail`` (N, m, m): small grey pictures, from which motion is known."""
    return {"thumbnail": thumbnails(frames)}


DEFAULT_TABLES: tuple[TableFunction, ...] = (glance_tables, local_table, full_table, thumbnail_table)
"""What every bank holds."""


def _fill(tables: Iterable[TableFunction], recognizer: Recognizer, frames: Tensor) -> dict[str, Tensor]:
    return {name: rows for function in tables for name, rows in function(recognizer, frames).items()}


@torch.no_grad()
def expected_manifest(
    recognizer: Recognizer,
    dataset: ClipDataset,
    *,
    tables: Iterable[TableFunction] = DEFAULT_TABLES,
    shard_videos: int = 64,
) -> dict[str, Any]:
    """What a bank of this recognizer on this dataset says of itself; any difference on disk makes a bank stale.

    It names all that the features depend on: weights, sizes, normalisation, the list, the true boxes and the
    transforms. The videos' own bytes are not read: a video replaced under its name needs a rebuild by hand.

    Raises:
        UserError: when the encoders look at the frames of a clip together.
        ValueError: when the dataset has training transforms, which give a video other features at every visit.
    """
    if recognizer.clip_frames is not None:
        raise UserError(
            "a bank holds features of single frames, and these encoders look at a clip's frames together; use live "
            "features (stage2.features=live, stage3.features=live)"
        )
    if dataset.train:
        raise ValueError("a bank holds one set of features per video; give the dataset with the evaluation transforms")
    config, grid = recognizer.config, recognizer.grid
    device = next(recognizer.parameters()).device
    with recognizer.freeze("glance", "focus"):
        frame = torch.zeros(1, 3, grid.frame_size, grid.frame_size, device=device)
        rows = _fill(tables, recognizer, recognizer.prepare(frame))
    boxes = dataset.index.boxes_file
    return {
        "format": BANK_FORMAT,
        "format_version": BANK_VERSION,
        "videos": len(dataset),
        "frames": dataset.num_frames,
        "classes": dataset.num_classes,
        "grid": grid.grid,
        "frame_size": grid.frame_size,
        "patch_size": grid.patch_size,
        "shard_videos": shard_videos,
        "tables": {name: {"shape": list(row.shape[1:]), "dtype": "float16"} for name, row in rows.items()},
        "glance_encoder": config.glance.name,
        "glance_size": config.glance_size,
        "glance_weights": tensors_hash(recognizer.glance),
        "focus_encoder": config.focus.name,
        "focus_weights": tensors_hash(recognizer.focus),
        "mean": list(config.mean),
        "std": list(config.std),
        "index": dataset.index.hash(),
        "boxes": hashlib.sha256(boxes.read_bytes()).hexdigest()[:16] if boxes else None,
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
    tables: Iterable[TableFunction] = DEFAULT_TABLES,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Builds, or finishes building, the bank in ``folder``.

    A video that cannot be decoded is left out and named in its shard's done mark; once mended, it comes in with
    ``overwrite``.

    Args:
        folder: the bank's own folder; made when missing.
        recognizer: frozen f_G and f_L; moved to the device and put in evaluation mode.
        dataset: clips with the evaluation transforms, so that a video has one set of features.
        device: where the encoders run.
        workers: decoding processes.
        shard_videos: videos in one shard, the unit of resuming.
        chunk_videos: videos encoded at once; bounds memory.
        tables: functions that fill the tables; a method adds its own to :data:`DEFAULT_TABLES`.
        overwrite: discard the bank that is there and build anew.
        progress: called with (videos done, videos in all).

    Raises:
        UserError: when the folder holds a bank built from something else (the differing field is named), when
            overwriting would remove files that are no bank's, or when features do not fit in float16.
        OSError: the disk is full, say; shards that are finished stay.
    """
    recognizer.to(device).eval()
    manifest = expected_manifest(recognizer, dataset, tables=tables, shard_videos=shard_videos)
    if overwrite:
        remove_bank(folder)
    if (folder / "manifest.json").exists():
        found = read_manifest(folder)
        check_manifest(folder, found, manifest)
        manifest = found  # which may be of an older version
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_manifest(folder, manifest)
    total = len(dataset)
    shards = {
        number: range(number * shard_videos, min((number + 1) * shard_videos, total))
        for number in range(shard_count(manifest))
    }
    done = finished_shards(folder, manifest)
    finished = sum(len(shards[number]) for number in done)
    if progress:
        progress(finished, total)
    chunks = [
        (number, list(rows[start : start + chunk_videos]))
        for number, rows in shards.items()
        if number not in done
        for start in range(0, len(rows), chunk_videos)
    ]
    if not chunks:
        return
    loader = make_loader(dataset, batches=[rows for _, rows in chunks], workers=workers, pin=device.type == "cuda")
    writer: ShardWriter | None = None
    try:
        for (number, rows), batch in zip(chunks, loader, strict=True):
            if writer is None:
                writer = ShardWriter(folder, number, shards[number], manifest)
            if len(batch):
                frames = recognizer.prepare(batch.clips.to(device, non_blocking=True)).flatten(0, 1)
                clips = {
                    name: values.unflatten(0, batch.clips.shape[:2])
                    for name, values in _fill(tables, recognizer, frames).items()
                }
                writer.add(batch, clips)
            writer.failed.extend(batch.failed)
            if rows[-1] == shards[number][-1]:
                writer.finish()
                writer = None
            finished += len(rows)
            if progress:
                progress(finished, total)
    finally:
        if writer is not None:
            writer.abandon()
