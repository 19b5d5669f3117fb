"""Construction of all missing tables in one pass over the videos, shard by shard, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.data.dataset import ClipDataset, make_loader
from adafocus_rl.errors import UserError
from adafocus_rl.features.expected import expected_manifests
from adafocus_rl.features.manifest import Manifest
from adafocus_rl.features.options import Precision
from adafocus_rl.features.precision import in_precision
from adafocus_rl.features.shards import ShardWriter, StoredTable
from adafocus_rl.features.specs import CLIPS, DEFAULT_TABLES, EncodedFrames, TableSpec
from adafocus_rl.features.store import TableStore
from adafocus_rl.models.recognizer import Recognizer


@torch.no_grad()
def build_bank(
    store: TableStore | Path,
    recognizer: Recognizer,
    dataset: ClipDataset,
    *,
    device: torch.device,
    workers: int = 0,
    shard_videos: int = 64,
    chunk_videos: int = 4,
    tables: Iterable[TableSpec] = DEFAULT_TABLES,
    overwrite: bool = False,
    precision: Precision = "float32",
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Build, or finish building, tables of a store; complete tables are left unchanged.

    All missing tables are filled in one pass: each video is decoded once, and each encoder runs once on it. A video
    that cannot be decoded is left out and listed in the done marks; once it is repaired, ``overwrite`` includes it.

    Args:
        store: the store, or the folder of a store that is not shared; created if missing.
        recognizer: frozen f_G and f_L; moved to the device and put in evaluation mode.
        dataset: clips with the evaluation transforms, so that a video has one set of features.
        device: device of the encoders.
        workers: number of decoding processes.
        shard_videos: number of videos in one shard, the unit of resuming; existing tables keep theirs.
        chunk_videos: number of videos encoded at once; bounds memory.
        tables: tables to build; ``clips`` is always built as well. A method adds its own to ``DEFAULT_TABLES``.
        overwrite: discard these tables and rebuild them.
        precision: precision in which the encoders compute the features.
        progress: called with (videos done, total videos).

    Raises:
        UserError: a table was built from something else (the message names the entry that differs), overwriting would
            remove files that belong to no table, or features do not fit in float16.
        OSError: writing failed, for example because the disk is full; finished shards are kept.
    """
    store = TableStore(store) if isinstance(store, Path) else store
    recognizer.to(device).eval()
    specs = tuple(tables)
    expected = expected_manifests(recognizer, dataset, tables=specs, precision=precision)
    encoders = in_precision(recognizer, precision)
    if overwrite:
        store.remove(expected.values())
    chunks = _plan(_begin(store, expected, shard_videos), len(dataset), chunk_videos)
    total = len(dataset)
    finished = total - sum(len(chunk.rows) for chunk in chunks)
    if progress:
        progress(finished, total)
    if not chunks:
        return
    rows = [list(chunk.rows) for chunk in chunks]
    loader = make_loader(dataset, batches=rows, workers=workers, pin=device.type == "cuda")
    declared = {spec.name: spec for spec in specs}
    writers: dict[str, ShardWriter] = {}
    try:
        for chunk, batch in zip(chunks, loader, strict=True):
            encoded = EncodedFrames(encoders, batch.clips)
            without = sorted({*chunk.rows} - {*batch.rows.tolist()})
            for table in chunk.tables:
                if table.name not in writers:
                    number = chunk.rows.start // table.shard_videos
                    writers[table.name] = ShardWriter(table, number, owner=store.owner)
                writer = writers[table.name]
                if len(batch):
                    arrays = _clips(batch) if table.name == CLIPS else _features(declared[table.name], encoded)
                    writer.add(batch.rows.numpy(), arrays)
                writer.leave_out(without, batch.failed)
                if chunk.rows.stop == writer.rows.stop:
                    writer.finish()
                    del writers[table.name]
            finished += len(chunk.rows)
            if progress:
                progress(finished, total)
    finally:
        for writer in writers.values():
            writer.abandon()


@dataclass(frozen=True)
class _Chunk:
    """Videos that are encoded at once, and the tables that lack them."""

    rows: range
    tables: Sequence[StoredTable]


def _begin(store: TableStore, expected: Mapping[str, Manifest], shard_videos: int) -> list[StoredTable]:
    """Return the tables, after writing the manifests of those that do not exist."""
    found = store.find(expected)
    for table in found.values():
        if table.old_version is not None and len(table.marks) < table.shards:
            raise store.half_written(table)
    missing = {name: manifest for name, manifest in expected.items() if name not in found}
    made = {name: store.begin({**manifest, "shard_videos": shard_videos}) for name, manifest in missing.items()}
    return [*found.values(), *made.values()]


def _plan(tables: Sequence[StoredTable], videos: int, chunk_videos: int) -> list[_Chunk]:
    """Return chunks of all videos that some table lacks; no chunk crosses the end of a table's shard."""
    cuts = sorted({videos, *(start for table in tables for start in range(0, videos, table.shard_videos))})
    chunks = []
    for start, stop in pairwise(cuts):
        missing = [table for table in tables if start // table.shard_videos not in table.marks]
        if missing:
            firsts = range(start, stop, chunk_videos)
            chunks += [_Chunk(range(first, min(first + chunk_videos, stop)), missing) for first in firsts]
    return chunks


def _clips(batch: ClipBatch) -> dict[str, NDArray[Any]]:
    """Return rows of the arrays of ``clips``."""
    return {
        "label": batch.labels.numpy(),
        "multi_hot": batch.multi_hot.numpy(),
        "boxes": batch.true_boxes.numpy(),
        "valid": np.ones(len(batch), dtype=np.bool_),
    }


def _features(spec: TableSpec, encoded: EncodedFrames) -> dict[str, NDArray[Any]]:
    """Return rows of a table of features.

    Raises:
        UserError: a feature is NaN or too large for float16.
    """
    values = spec.fill(encoded).unflatten(0, encoded.clips.shape[:2])
    rows = values.half().cpu().numpy()
    if not np.isfinite(rows).all():
        raise UserError(
            f"the {spec.name} features of {len(rows)} videos are not all finite in float16 (largest: "
            f"{float(values.abs().max()):.3g}); the encoder's training diverged: train it with a lower rate"
        )
    return {spec.name: rows}
