"""Construction of all missing tables in one pass over the videos, shard by shard, resumable."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adafocus_rl.data.clip_source import clip_sources
from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.data.dataset import ClipDataset, ClipLoader, make_loader
from adafocus_rl.errors import UserError
from adafocus_rl.features.background import Background
from adafocus_rl.features.chunks import Chunk, ChunkWriter
from adafocus_rl.features.eight_bit import compress, range_name
from adafocus_rl.features.expected import expected_manifests
from adafocus_rl.features.known import KnownRows
from adafocus_rl.features.manifest import Manifest
from adafocus_rl.features.options import Precision
from adafocus_rl.features.other_files import check_files
from adafocus_rl.features.parts import WHOLE, Part
from adafocus_rl.features.precision import in_precision
from adafocus_rl.features.shards import StoredTable
from adafocus_rl.features.specs import CLIPS, DEFAULT_TABLES, EncodedFrames, TableSpec
from adafocus_rl.features.store import TableStore
from adafocus_rl.models.recognizer import Recognizer

WAITING_CHUNKS = 2
"""Number of chunks that are encoded and not yet written; bounds memory."""


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
    eight_bit: Collection[str] = (),
    part: Part = WHOLE,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Build, or finish building, tables of a store; complete tables are left unchanged.

    All missing tables are filled in one pass: each video is decoded once, and each encoder runs once on it. A video
    that cannot be decoded is left out and listed in the done marks; once it is repaired, ``overwrite`` includes it.

    In a shared store, rows that tables of other lists contain are copied (``KnownRows``). A video is not decoded if all
    its rows can be copied. Copied rows equal computed ones to rounding, which depends on the videos of a chunk.

    Workers decode, this thread encodes, and another thread writes at the same time. An exception or an interrupt leaves
    complete shards only, including those whose features were computed before it.

    Several processes can build the parts of the same tables at the same time, on machines that share the disk. They
    write the same files as one process that builds the whole.

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
        eight_bit: names of the tables to store in 8 bits instead of float16.
        part: the part of each table to build; ``overwrite`` needs the whole.
        progress: called with (videos encoded, total videos) of the part.

    Returns:
        The number of videos that were not decoded, because all their rows were copied.

    Raises:
        UserError: a table was built from something else (the message names the entry or the file that differs),
            overwriting would remove files that belong to no table, features do not fit in float16, or a row to copy is
            damaged.
        OSError: writing failed, for example because the disk is full; finished shards are kept.
        ValueError: a part would discard the others' shards.
    """
    if overwrite and part != WHOLE:
        raise ValueError("a part cannot overwrite tables: it would discard the shards of the others")
    store = TableStore(store) if isinstance(store, Path) else store
    store = replace(store, owner=part.owner(store.owner))
    recognizer.to(device).eval()
    specs = tuple(tables)
    expected = expected_manifests(recognizer, dataset, tables=specs, precision=precision, eight_bit=eight_bit)
    encoders = in_precision(recognizer, precision)
    if overwrite:
        store.remove(expected.values())
    planned = _plan(_begin(store, expected, shard_videos, dataset), len(dataset), chunk_videos, part)
    wanted = [chunk for chunk in planned if chunk.tables]
    total = sum(len(chunk.rows) for chunk in planned)
    finished = total - sum(len(chunk.rows) for chunk in wanted)
    if progress:
        progress(finished, total)
    if not wanted:
        return 0
    sources = clip_sources(dataset, (row for chunk in wanted for row in chunk.rows)) if store.shared else {}
    # A user overwrites tables that are wrong, as those of other lists may be, too.
    known = KnownRows(store, expected, {} if overwrite else sources)
    chunks = [replace(chunk, copied=known.rows(chunk.names, chunk.rows)) for chunk in wanted]
    loader = make_loader(
        dataset,
        batches=[chunk.decoded for chunk in chunks if chunk.decoded],
        workers=workers,
        pin=device.type == "cuda",
    )
    declared = {spec.name: spec for spec in specs}
    writer = ChunkWriter(dataset, known, sources, owner=store.owner)
    try:
        with Background(waiting=WAITING_CHUNKS) as background:
            for chunk, batch in _with_batches(chunks, loader):
                features = {}
                if batch is not None and len(batch):
                    encoded = EncodedFrames(encoders, batch.clips)
                    names = [name for name in chunk.names if name != CLIPS and not known.has(name, batch.rows.tolist())]
                    features = {
                        name: _StoredRows(name, declared[name].fill(encoded), batch, eight_bit=name in eight_bit)
                        for name in names
                    }
                background.run(partial(writer.write, chunk, batch, features))
                finished += len(chunk.rows)
                if progress:
                    progress(finished, total)
    finally:
        writer.abandon()
    return sum(len(chunk.copied) for chunk in chunks)


def _begin(
    store: TableStore, expected: Mapping[str, Manifest], shard_videos: int, dataset: ClipDataset
) -> list[StoredTable]:
    """Return the tables, after writing the manifests of those that do not exist."""
    found = store.find(expected)
    for table in found.values():
        if table.old_version is not None and len(table.marks) < table.shards:
            raise store.half_written(table)
    if store.shared:
        check_files(found.values(), dataset)
    missing = {name: manifest for name, manifest in expected.items() if name not in found}
    made = {name: store.begin({**manifest, "shard_videos": shard_videos}) for name, manifest in missing.items()}
    return [*found.values(), *made.values()]


def _plan(tables: Sequence[StoredTable], videos: int, chunk_videos: int, part: Part) -> list[Chunk]:
    """Return chunks of a part's videos, each with the tables that lack it; none crosses the end of a table's shard.

    The chunks do not depend on the part or on what exists, because features depend on their chunk by rounding.
    """
    cuts = sorted({videos, *(start for table in tables for start in range(0, videos, table.shard_videos))})
    chunks = []
    for start, stop in pairwise(cuts):
        own = [table for table in tables if start // table.shard_videos in part.shards(table.shards)]
        if own:
            missing = [table for table in own if start // table.shard_videos not in table.marks]
            firsts = range(start, stop, chunk_videos)
            chunks += [Chunk(range(first, min(first + chunk_videos, stop)), missing) for first in firsts]
    return chunks


def _with_batches(chunks: Iterable[Chunk], loader: ClipLoader) -> Iterator[tuple[Chunk, ClipBatch | None]]:
    """Yield each chunk with the batch of its rows to decode; None if there are none."""
    rest = iter(chunks)
    for batch in loader:
        for chunk in rest:
            if chunk.decoded:
                yield chunk, batch
                break
            yield chunk, None
    for chunk in rest:
        yield chunk, None


class _StoredRows:
    """Rows of a table of features as they are stored, on their way to this machine's memory.

    Args:
        name: the table's name.
        rows: (B · T, …), features of the frames of a batch, on any device.
        batch: the batch.
        eight_bit: store them in 8 bits instead of float16.
    """

    def __init__(self, name: str, rows: Tensor, batch: ClipBatch, *, eight_bit: bool) -> None:
        self.name = name
        self.values = rows.unflatten(0, batch.clips.shape[:2])
        self._kind = "8 bits" if eight_bit else "float16"
        if eight_bit:
            arrays = dict(zip((name, range_name(name)), compress(self.values), strict=True))
        else:
            arrays = {name: self.values.half()}
        # A copy from another device goes into page-locked memory, so that the encoders need not wait for it.
        self._arrays = {name: array.to("cpu", non_blocking=True) for name, array in arrays.items()}
        self._copied: torch.cuda.Event | None = None
        if rows.is_cuda:
            self._copied = torch.cuda.current_stream(rows.device).record_event()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the rows (B, T, …) of the table's arrays by name, when they have arrived.

        Raises:
            UserError: a feature is NaN or too large for its type.
        """
        if self._copied is not None:
            self._copied.synchronize()
        arrays: dict[str, NDArray[Any]] = {name: array.numpy() for name, array in self._arrays.items()}
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise UserError(
                f"the {self.name} features of {len(self.values)} videos are not all finite in {self._kind} (largest: "
                f"{float(self.values.abs().max()):.3g}); the encoder's training diverged: train it with a lower rate"
            )
        return arrays
