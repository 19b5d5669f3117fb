"""Precomputed features: fp16 tables, on the device when they fit and read from disk when they do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adafocus_rl.errors import UserError
from adafocus_rl.features.memory import free_memory
from adafocus_rl.features.motion import frame_differences
from adafocus_rl.features.shards import (
    SIDE_TABLES,
    check_manifest,
    finished_shards,
    read_manifest,
    shard_count,
    shard_folder,
    tables_of,
    videos_in_shard,
)
from adafocus_rl.features.source import EpisodeFeatures, video_order
from adafocus_rl.features.tables import open_table, verify_checksum
from adafocus_rl.geometry import PatchGrid

RESIDENT_SHARE = 0.5
"""Share of the free memory that a bank may take to be held on the device whole."""


class _ResidentTable:
    """A table (N, …) held on the device."""

    def __init__(self, shards: Sequence[NDArray[np.float16]], device: torch.device) -> None:
        videos = sum(len(shard) for shard in shards)
        self.values = torch.empty((videos, *shards[0].shape[1:]), dtype=torch.float16, device=device)
        for part, shard in zip(self.values.split([len(shard) for shard in shards]), shards, strict=True):
            part.copy_(torch.from_numpy(shard))

    def gather(self, *index: Tensor) -> Tensor:
        return self.values[index].float()


class _MappedTable:
    """A table (N, …) that stays in memory-mapped shards; only the rows asked for are read and moved."""

    def __init__(self, shards: Sequence[NDArray[np.float16]], shard_videos: int, device: torch.device) -> None:
        self.shards = shards
        self.shard_videos = shard_videos
        self.device = device

    def gather(self, *index: Tensor) -> Tensor:
        videos, *others = (part.cpu().numpy() for part in torch.broadcast_tensors(*index))
        number, row = np.divmod(videos, self.shard_videos)
        values = np.empty((*row.shape, *self.shards[0].shape[len(index) :]), dtype=np.float16)
        for shard in np.unique(number):
            chosen = number == shard
            at = (row[chosen], *(part[chosen] for part in others))
            values[chosen] = self.shards[shard][at]
        return torch.from_numpy(values).to(self.device).float()


class BankEpisodes(EpisodeFeatures):
    """A batch of rows of a :class:`FeatureBank`; large tables are read only when asked for.

    Args:
        bank: where the rows are.
        videos: (B,) int64 rows, on the bank's device.
    """

    def __init__(self, bank: FeatureBank, videos: Tensor) -> None:
        self.bank = bank
        self.videos = videos
        self.labels = bank.labels[videos]
        self.multi_hot = bank.multi_hot[videos]
        self.true_boxes = bank.true_boxes[videos]
        self.global_vector = bank.table("global_vector", videos)

    @cached_property
    def global_map(self) -> Tensor:  # type: ignore[override]  # a cached property can be written, too
        """(B, T, C, h, w), read at the first use: not everyone looks at it."""
        return self.bank.table("global_map", self.videos)

    @property
    def motion(self) -> Tensor:  # type: ignore[override]  # read only here
        """(B, T, m, m), from the table ``thumbnail``."""
        return frame_differences(self.bank.table("thumbnail", self.videos))

    def local_at(self, step: Tensor, action: Tensor) -> Tensor:
        """Rows of the table ``local``."""
        videos = self.videos[:, None].expand_as(step)
        if action.ndim > step.ndim:
            videos, step = videos[..., None], step[..., None]
        return self.bank.table("local", videos, step, action)

    def full(self) -> Tensor:
        """Rows of the table ``full``."""
        return self.bank.table("full", self.videos)


class FeatureBank:
    """Opens a complete bank; a :class:`~adafocus_rl.features.source.FeatureSource`.

    Args:
        folder: the bank's folder.
        device: where features are wanted.
        seed: of the shuffled order of :meth:`batches`.
        expected: manifest that the bank must have (:func:`~adafocus_rl.features.build.expected_manifest`); None
            takes the bank as it is.
        resident: hold the tables on the device ("always"), read rows from disk ("never"), or hold them when they
            take at most half of the free memory ("auto").

    Attributes:
        failed: (path, reason) of each video that could not be decoded.
        marks: the done marks of all shards.
        resident: whether the tables are held on the device.

    What is verified on opening: the checksums of the manifest, the done marks and the small tables, and header and size
    of the large ones, whose content :func:`~adafocus_rl.features.verify.verify_bank` looks at.

    Raises:
        UserError: when the bank is missing, stale (the differing field is named), incomplete or damaged.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: torch.device,
        seed: int = 0,
        expected: Mapping[str, Any] | None = None,
        resident: Literal["auto", "always", "never"] = "auto",
    ) -> None:
        manifest = read_manifest(folder)
        if expected is not None:
            check_manifest(folder, manifest, expected)
        marks = finished_shards(folder, manifest)
        if len(marks) < shard_count(manifest):
            raise UserError(
                f"the feature bank in {folder} is half-written: {len(marks)} of {shard_count(manifest)} shards are "
                "done; finish it with `adafocus features build RUN`"
            )
        _check_shapes(folder, manifest)
        for number, mark in marks.items():
            for name in SIDE_TABLES:  # small, and read whole in any case
                verify_checksum(shard_folder(folder, number) / f"{name}.npy", mark)
        self.folder = folder
        self.manifest = manifest
        self.marks = marks
        self.device = device
        self.seed = seed
        self._wanted_resident = resident
        self.failed = [(str(path), str(reason)) for mark in marks.values() for path, reason in mark["failed"]]
        self.grid = PatchGrid(
            grid=manifest["grid"], frame_size=manifest["frame_size"], patch_size=manifest["patch_size"]
        )
        self.num_frames = int(manifest["frames"])
        self.num_classes = int(manifest["classes"])
        channels, height, width = manifest["tables"]["global_map"]["shape"]
        self.map_shape = (channels, height, width)
        self.vector_dim = int(manifest["tables"]["global_vector"]["shape"][0])
        self.local_dim = int(manifest["tables"]["local"]["shape"][-1])
        self._valid = self._side_table("valid")
        self._videos = self._valid.nonzero().flatten()
        boxes, labels = self._side_table("boxes"), self._side_table("label")
        if not 0 <= int(labels.min()) <= int(labels.max()) < self.num_classes:
            raise UserError(
                f"the feature bank in {folder} has labels from {int(labels.min())} to {int(labels.max())}, expected 0 "
                f"to {self.num_classes - 1}; build it again with `adafocus features build RUN --overwrite`"
            )
        self.has_boxes = not bool(boxes.isnan().all())
        self.any_position = False
        self.true_boxes = boxes.to(device)
        self.labels = labels.to(device)
        self.multi_hot = self._side_table("multi_hot").to(device, torch.float32)
        size = sum(mark["bytes"][f"{name}.npy"] for mark in marks.values() for name in manifest["tables"])
        self.resident = resident == "always" or (resident == "auto" and size <= RESIDENT_SHARE * free_memory(device))
        # All of them now, so that the next bank sees what this one has left.
        self._tables = {name: self._open(name) for name in manifest["tables"]}

    def __reduce__(self) -> tuple[Any, ...]:
        """How to open it, and not what is in it: the tables lie on disk already, and may be larger than memory."""
        opened = partial(
            type(self), device=self.device, seed=self.seed, expected=self.manifest, resident=self._wanted_resident
        )
        return opened, (self.folder.absolute(),)

    def __deepcopy__(self, memo: dict[int, Any]) -> FeatureBank:
        """Itself: nothing writes to a bank, and a copy of its tables would only take memory."""
        return self

    def _shards(self, name: str) -> list[NDArray[Any]]:
        return [self.shard_table(number, name) for number in range(shard_count(self.manifest))]

    def shard_table(self, number: int, name: str) -> NDArray[Any]:
        """A shard's part of a table, memory-mapped.

        Raises:
            UserError: its header or its size is not what the manifest says.
        """
        dtype, shape = tables_of(self.manifest, videos_in_shard(self.manifest, number))[name]
        return open_table(shard_folder(self.folder, number) / f"{name}.npy", dtype, shape)

    def _side_table(self, name: str) -> Tensor:
        return torch.from_numpy(np.concatenate(self._shards(name)))

    def _open(self, name: str) -> _ResidentTable | _MappedTable:
        shards = self._shards(name)
        if self.resident:
            return _ResidentTable(shards, self.device)
        return _MappedTable(shards, int(self.manifest["shard_videos"]), self.device)

    def table(self, name: str, *index: Tensor) -> Tensor:
        """Rows of a named table as float32 on the device.

        Args:
            name: one of the manifest's tables.
            *index: int64 tensors for its first axes (video, frame, action), on the device, that broadcast together.

        Raises:
            KeyError: the bank has no such table.
        """
        if name not in self._tables:
            raise KeyError(f"the bank has no table {name!r}; it has {', '.join(self._tables)}")
        return self._tables[name].gather(*index)

    @property
    def videos(self) -> Tensor:
        """(N,) int64 on CPU, rows of the videos that could be decoded."""
        return self._videos

    def episodes(self, videos: Tensor, *, epoch: int = 0) -> BankEpisodes:
        """Features of the given rows (B,), the same in every epoch.

        Raises:
            UserError: if one of the videos could not be decoded when the bank was built.
        """
        rows = videos.cpu()
        if not bool(self._valid[rows].all()):
            row = int(rows[~self._valid[rows]][0])
            raise UserError(
                f"video {row} of the index could not be decoded when the bank in {self.folder} was built; leave it "
                "out, or mend it and rebuild with `adafocus features build RUN --overwrite`"
            )
        return BankEpisodes(self, rows.to(self.device, non_blocking=True))

    def batches(self, batch_size: int, *, epoch: int | None = None) -> Iterator[BankEpisodes]:
        """All valid rows once, in index order or shuffled by (seed, epoch)."""
        order = video_order(self.videos, seed=self.seed, epoch=epoch).to(self.device)
        for videos in order.split(batch_size):
            yield BankEpisodes(self, videos)


def _check_shapes(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Makes sure that the tables that every bank has are there, with axes that belong together."""
    tables = {name: table["shape"] for name, table in manifest["tables"].items()}
    axes = {"global_map": 3, "global_vector": 1, "local": 2, "full": 1}
    wrong = [name for name, count in axes.items() if len(tables.get(name, [])) != count]
    if not wrong and (tables["local"][0] != manifest["grid"] ** 2 or tables["local"][1:] != tables["full"]):
        wrong = ["local"]
    if wrong:
        raise UserError(
            f"the feature bank in {folder} has the table {wrong[0]} in shape {tables.get(wrong[0])}, which is not what "
            "a recognizer gives; build it again with `adafocus features build RUN --overwrite`"
        )
