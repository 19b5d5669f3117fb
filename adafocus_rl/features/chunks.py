"""Chunks of videos on their way into the shards of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.data.clip_source import ClipSource
from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.features.known import KnownRows
from adafocus_rl.features.shards import ShardWriter, StoredTable
from adafocus_rl.features.specs import CLIPS


class EncodedRows(Protocol):
    """Rows of a table of features."""

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the rows (B, …) of each array of the table, by name."""


@dataclass(frozen=True)
class Chunk:
    """Videos that are encoded at once, and the tables that lack them."""

    rows: range
    tables: Sequence[StoredTable]
    copied: frozenset[int] = frozenset()
    """Rows that all of the tables copy."""

    @property
    def names(self) -> list[str]:
        """Names of the tables."""
        return [table.name for table in self.tables]

    @property
    def decoded(self) -> list[int]:
        """The other rows, whose videos have to be decoded."""
        return [row for row in self.rows if row not in self.copied]


class ChunkWriter:
    """Writes chunks, in order, into the shards of tables.

    Args:
        dataset: the clips.
        known: the rows that can be copied.
        sources: ``clip_source`` of the clips, by row; empty if shards get no list of them.
        owner: the store's owner.
    """

    def __init__(
        self, dataset: ClipDataset, known: KnownRows, sources: Mapping[int, ClipSource], *, owner: str
    ) -> None:
        self.dataset = dataset
        self.known = known
        self.sources = sources
        self.owner = owner
        self._writers: dict[str, ShardWriter] = {}

    def write(self, chunk: Chunk, batch: ClipBatch | None, features: Mapping[str, EncodedRows]) -> None:
        """Write the rows of a chunk, begin the shards that it is the first of, and finish those that it is the last of.

        Args:
            chunk: the chunk.
            batch: the decoded videos; None if all are copied.
            features: rows of the batch for tables of features; a table without an entry copies them as well.

        Raises:
            UserError: features do not fit in float16, or a row to copy is damaged.
            OSError: writing failed, for example because the disk is full.
        """
        encoded = [] if batch is None else batch.rows.tolist()
        rows = sorted({*encoded, *chunk.copied})
        without = sorted({*chunk.rows} - {*rows})
        for table in chunk.tables:
            if table.name not in self._writers:
                number = chunk.rows.start // table.shard_videos
                self._writers[table.name] = ShardWriter(
                    table, number, owner=self.owner, sources=self.sources, root=self.dataset.index.root
                )
            writer = self._writers[table.name]
            parts = []
            if table.name in features:
                parts.append((encoded, features[table.name].arrays()))
            elif table.name == CLIPS and batch is not None and encoded:
                parts.append((encoded, _clips(batch)))
            if copied := [row for row in rows if not parts or row in chunk.copied]:
                arrays = self._clips(copied) if table.name == CLIPS else self.known.arrays(table.name, copied)
                parts.append((copied, arrays))
            if rows:
                writer.add(*_in_order(parts))
            writer.leave_out(without, [] if batch is None else batch.failed)
            if chunk.rows.stop == writer.rows.stop:
                writer.finish()
                del self._writers[table.name]

    def abandon(self) -> None:
        """Remove unfinished shards from the disk."""
        for writer in self._writers.values():
            writer.abandon()

    def _clips(self, rows: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Return rows of the arrays of ``clips`` for videos that another list contains, which have no true boxes."""
        labels = [self.dataset.index[row].labels for row in rows]
        multi_hot = np.zeros((len(rows), self.dataset.num_classes), dtype=np.uint8)
        for classes, row in zip(labels, multi_hot, strict=True):
            row[list(classes)] = 1
        return {
            "label": np.array([classes[0] for classes in labels]),
            "multi_hot": multi_hot,
            "boxes": np.full((len(rows), self.dataset.num_frames, 4), np.nan, dtype=np.float32),
            "valid": np.ones(len(rows), dtype=np.bool_),
        }


def _clips(batch: ClipBatch) -> dict[str, NDArray[Any]]:
    """Return rows of the arrays of ``clips``."""
    return {
        "label": batch.labels.numpy(),
        "multi_hot": batch.multi_hot.numpy(),
        "boxes": batch.true_boxes.numpy(),
        "valid": np.ones(len(batch), dtype=np.bool_),
    }


def _in_order(
    parts: Sequence[tuple[Sequence[int], Mapping[str, NDArray[Any]]]],
) -> tuple[NDArray[np.int64], Mapping[str, NDArray[Any]]]:
    """Return ascending rows and their arrays, given parts of them."""
    if len(parts) == 1:
        return np.array(parts[0][0]), parts[0][1]
    rows = np.concatenate([part for part, _ in parts])
    order = rows.argsort()
    names = parts[0][1]
    return rows[order], {name: np.concatenate([arrays[name] for _, arrays in parts])[order] for name in names}
