"""Precomputed features: fp16 tables, on the device when they fit and read from disk when they do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adafocus_rl.errors import UserError
from adafocus_rl.features.memory import free_memory
from adafocus_rl.features.motion import frame_differences
from adafocus_rl.features.shards import check_manifest, finished_shards, read_manifest, shard_count, shard_folder
from adafocus_rl.features.source import EpisodeFeatures, video_order
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
        self.boxes = bank.boxes[videos]
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
        resident: whether the tables are held on the device.

    Raises:
        UserError: when the bank is missing, stale (the differing field is named) or incomplete.
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
        self.folder = folder
        self.manifest = manifest
        self.device = device
        self.seed = seed
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
        boxes = self._side_table("boxes")
        self.has_boxes = not bool(boxes.isnan().all())
        self.any_position = False
        self.boxes = boxes.to(device)
        self.labels = self._side_table("label").to(device)
        self.multi_hot = self._side_table("multi_hot").to(device, torch.float32)
        size = sum(mark["bytes"][f"{name}.npy"] for mark in marks.values() for name in manifest["tables"])
        self.resident = resident == "always" or (resident == "auto" and size <= RESIDENT_SHARE * free_memory(device))
        # All of them now, so that the next bank sees what this one has left.
        self._tables = {name: self._open(name) for name in manifest["tables"]}

    def _shards(self, name: str) -> list[NDArray[Any]]:
        # Copy-on-write: nothing here writes, but torch warns about arrays that could not be written to.
        return [
            np.load(shard_folder(self.folder, number) / f"{name}.npy", mmap_mode="c")
            for number in range(shard_count(self.manifest))
        ]

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
