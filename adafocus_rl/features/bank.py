"""Precomputed features: tables of 16 or 8 bits, held on the device if they fit and read from disk otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from adafocus_rl import ranks
from adafocus_rl.data.index import VideoIndex
from adafocus_rl.errors import UserError
from adafocus_rl.features.arrays import verify_checksum
from adafocus_rl.features.bank_episodes import BankEpisodes
from adafocus_rl.features.eight_bit import range_name
from adafocus_rl.features.manifest import Manifest
from adafocus_rl.features.memory import free_memory
from adafocus_rl.features.read_ahead import ReadAhead
from adafocus_rl.features.rows import MappedRows, ResidentRows
from adafocus_rl.features.shards import OpenedShards, StoredTable
from adafocus_rl.features.source import Share, own_share, video_order
from adafocus_rl.features.specs import CLIPS, SCALES
from adafocus_rl.features.store import TableStore
from adafocus_rl.geometry import PatchGrid

RESIDENT_SHARE = 0.5
"""Largest share of the free memory that a bank may take and still be held on the device."""


class FeatureBank:
    """A ``FeatureSource`` that reads complete tables of a store.

    Args:
        store: the store, or the folder of a store that is not shared.
        device: device of the features.
        seed: seed of the shuffled order of ``batches``.
        expected: manifests of the tables to open, by name (``expected_manifests``), which the tables must match; None
            opens all tables in the store without a comparison.
        resident: hold the tables on the device ("always"), read rows from disk ("never"), or hold them if they take
            at most half of the free memory ("auto").
        index: the list of videos, in which their paths can be looked up (``index_of``); None if it is not
            known. A pickle does not contain it.

    Attributes:
        failed: (path, reason) of each video that could not be decoded.
        tables: the opened tables, by name, including ``clips``.
        resident: whether the tables are held on the device.

    The constructor verifies the checksums of manifests, done marks and the small arrays (those of ``clips``, and the
    ranges of features in 8 bits), and the header and size of the large arrays. ``verify_tables`` verifies the content
    of the large arrays.

    Raises:
        UserError: a table is missing, stale (the message names the entry that differs), incomplete or damaged.
    """

    def __init__(
        self,
        store: TableStore | Path,
        *,
        device: torch.device,
        seed: int = 0,
        expected: Mapping[str, Manifest] | None = None,
        resident: Literal["auto", "always", "never"] = "auto",
        index: VideoIndex | None = None,
    ) -> None:
        self.store = TableStore(store) if isinstance(store, Path) else store
        self.folder = self.store.folder
        self.tables = self.store.open(expected)
        _check_tables(self.folder, self.tables)
        self.device = device
        self.seed = seed
        self.index = index
        self._wanted_resident = resident
        clips, local = self.tables[CLIPS], self.tables["local"].manifest
        self.grid = _patch_grid(local)
        self.num_steps = int(clips.manifest["frames"])
        self.num_classes = int(clips.manifest["classes"])
        channels, height, width = self.tables["global_map"].manifest["shape"]
        self.map_shape = (channels, height, width)
        self.vector_dim = int(self.tables["global_vector"].manifest["shape"][0])
        self.local_dim = int(local["shape"][-1])
        side = {name: _read_whole(clips, name) for name in clips.array_names}
        self.failed, without = _failed(self.tables.values())
        self._valid = side["valid"]
        self._valid[without] = False
        self._videos = self._valid.nonzero().flatten()
        boxes, labels = side["boxes"], side["label"]
        if not 0 <= int(labels.min()) <= int(labels.max()) < self.num_classes:
            raise UserError(
                f"the feature bank in {self.folder} has labels from {int(labels.min())} to {int(labels.max())}, "
                f"expected 0 to {self.num_classes - 1}; build it again with `adafocus features build RUN --overwrite`"
            )
        self.has_boxes = not bool(boxes.isnan().all())
        self.any_position = False
        self.true_boxes = boxes.to(device)
        self.labels = labels.to(device)
        self.multi_hot = side["multi_hot"].to(device)  # in bytes, because it has a column for each class
        size = sum(table.num_bytes for name, table in self.tables.items() if name != CLIPS)
        self.resident = resident == "always" or (resident == "auto" and size <= RESIDENT_SHARE * free_memory(device))
        # Loaded now and not on demand, so that the next bank measures the memory that is left.
        self._rows = {name: self._open(table) for name, table in self.tables.items() if name != CLIPS}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the way to open the bank, not its content: the tables are on disk and may be larger than memory."""
        opened = partial(
            type(self),
            device=self.device,
            seed=self.seed,
            expected={name: table.manifest for name, table in self.tables.items()},
            resident=self._wanted_resident,
        )
        return opened, (replace(self.store, folder=self.folder.absolute()),)

    def __deepcopy__(self, memo: dict[int, Any]) -> FeatureBank:
        """Return the bank itself: nothing writes to it, and a copy of its tables would only take memory."""
        return self

    def only(self, rows: Tensor) -> FeatureBank:
        """Return the same opened tables with some of the videos.

        Args:
            rows: (n,) int64, some of ``videos``.
        """
        part = object.__new__(type(self))
        vars(part).update(vars(self))
        part._videos = rows.cpu()
        return part

    def _open(self, table: StoredTable) -> ResidentRows | MappedRows:
        shards = OpenedShards(table)
        name = range_name(table.name)
        ranges = _read_whole(table, name).to(self.device) if name in table.array_names else None
        if self.resident:
            return ResidentRows(shards, self.device, ranges)
        return MappedRows(shards, table.shard_videos, self.device, ranges)

    def table(self, name: str, *index: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return rows of a table on the device.

        Args:
            name: name of an opened table.
            *index: int64 tensors for its first axes (video, frame, action), on the device, that broadcast together.
            dtype: type of the rows.

        Raises:
            KeyError: the bank has no such table.
        """
        if name not in self._rows:
            raise KeyError(f"the bank has no table {name!r}; it has {', '.join(self._rows)}")
        return self._rows[name].gather(*index, dtype=dtype)

    @property
    def videos(self) -> Tensor:
        """(N,) int64 on CPU, the rows of the videos that could be decoded."""
        return self._videos

    def episodes(self, videos: Tensor, *, epoch: int = 0) -> BankEpisodes:
        """Return the features of the given rows (B,), which are the same in every epoch.

        Raises:
            UserError: one of the videos could not be decoded when the bank was built.
        """
        rows = videos.cpu()
        if not bool(self._valid[rows].all()):
            row = int(rows[~self._valid[rows]][0])
            raise UserError(
                f"video {row} of the index could not be decoded when the bank in {self.folder} was built; leave it "
                "out, or mend it and rebuild with `adafocus features build RUN --overwrite`"
            )
        return BankEpisodes(self, rows.to(self.device, non_blocking=True))

    def batches(
        self, batch_size: int, *, epoch: int | None = None, share: Share | None = None
    ) -> Iterator[BankEpisodes]:
        """Yield all valid rows once, in index order or shuffled by (seed, epoch), or this rank's share of them.

        A bank that is not held on the device reads ahead: see ``ReadAhead``.
        """
        order = video_order(self.videos, seed=self.seed, epoch=epoch)
        mapped = {name: rows for name, rows in self._rows.items() if isinstance(rows, MappedRows)}
        batches = order.split(batch_size)
        parts = own_share(batches, share)
        with ReadAhead(mapped, parts, device=self.device) if mapped else nullcontext() as ahead:
            for number, videos in enumerate(own_share(order.to(self.device).split(batch_size), share)):
                episodes = BankEpisodes(self, videos, None if ahead is None else partial(ahead.rows, number))
                # All these videos can be read, so the ranks need not ask each other how many they have.
                yield episodes.as_part(ranks.part_sizes(len(batches[number]))) if share == "videos" else episodes


def _read_whole(table: StoredTable, name: str) -> Tensor:
    """Read a small array of a table and verify its checksums."""
    for number, mark in table.marks.items():
        verify_checksum(table.file(number, name), mark)
    return torch.from_numpy(np.concatenate([table.array(number, name) for number in range(table.shards)]))


def _failed(tables: Iterable[StoredTable]) -> tuple[list[tuple[str, str]], list[int]]:
    """Return (path, reason) of each video without a clip in some table, and the rows that the done marks list.

    A table that was added later may lack videos that could be decoded before.
    """
    marks = [mark for table in tables for mark in table.marks.values()]
    failed = {str(path): str(reason) for mark in reversed(marks) for path, reason in reversed(mark["failed"])}
    rows = [row for mark in marks for row in mark.get("rows_without_clip", [])]
    return [*reversed(failed.items())], rows


def _patch_grid(local: Manifest) -> PatchGrid:
    """Return the grid of the table ``local``."""
    sizes = {name: local[name] for name in ("grid", "frame_size", "patch_size")}
    return PatchGrid(**sizes, scales=local.get(SCALES, (1.0,)))


def _check_tables(folder: Path, tables: Mapping[str, StoredTable]) -> None:
    """Check that the tables that every bank needs are present and that their axes agree."""
    axes = {"global_map": 3, "global_vector": 1, "local": 2, "full": 1}
    for name in (CLIPS, *axes):
        if name not in tables:
            raise UserError(
                f"the feature bank in {folder} has no table {name}; build it with `adafocus features build RUN`"
            )
    shapes = {name: tables[name].manifest["shape"] for name in axes}
    wrong = [name for name, count in axes.items() if len(shapes[name]) != count]
    if not wrong and (
        shapes["local"][0] != _patch_grid(tables["local"].manifest).num_actions or shapes["local"][1:] != shapes["full"]
    ):
        wrong = ["local"]
    if wrong:
        raise UserError(
            f"the feature bank in {folder} has the table {wrong[0]} in shape {shapes[wrong[0]]}, which is not what a "
            "recognizer gives; build it again with `adafocus features build RUN --overwrite`"
        )
    for name, table in tables.items():
        for entry in ("videos", "frames"):
            if table.manifest[entry] != tables[CLIPS].manifest[entry]:
                raise UserError(
                    f"the feature bank in {folder} has {table.manifest[entry]} {entry} in the table {name} and "
                    f"{tables[CLIPS].manifest[entry]} in the table {CLIPS}; build it again with `adafocus features "
                    "build RUN --overwrite`"
                )
