"""Precomputed features: fp16 tables, on the device when they fit and read from disk when they do not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from adafocus_rl.errors import UserError
from adafocus_rl.features.shards import (
    check_manifest,
    finished_shards,
    read_manifest,
    shard_count,
    shard_folder,
)
from adafocus_rl.features.source import EpisodeFeatures, video_order
from adafocus_rl.geometry import PatchGrid

RESIDENT_SHARE = 0.5
"""Share of the free memory that a bank may take to be held on the device whole."""


class _ResidentTable:
    """A table (N, …) held on the device."""

    def __init__(self, shards: Sequence[np.ndarray[Any, Any]], device: torch.device) -> None:
        videos = sum(len(shard) for shard in shards)
        first = torch.from_numpy(np.empty(0, dtype=shards[0].dtype))
        self.values = torch.empty((videos, *shards[0].shape[1:]), dtype=first.dtype, device=device)
        start = 0
        for shard in shards:
            self.values[start : start + len(shard)] = torch.from_numpy(np.array(shard))
            start += len(shard)

    def gather(self, *index: Tensor) -> Tensor:
        return self.values[index].float()


class _MappedTable:
    """A table (N, …) that stays in memory-mapped shards; only the rows asked for are read and moved."""

    def __init__(self, shards: Sequence[np.ndarray[Any, Any]], shard_videos: int, device: torch.device) -> None:
        self.shards = shards
        self.shard_videos = shard_videos
        self.device = device

    def gather(self, *index: Tensor) -> Tensor:
        arrays = [part.cpu().numpy() for part in torch.broadcast_tensors(*index)]
        number, row = np.divmod(arrays[0], self.shard_videos)
        values = np.empty((*row.shape, *self.shards[0].shape[len(index) :]), dtype=self.shards[0].dtype)
        for shard in np.unique(number):
            chosen = number == shard
            values[chosen] = self.shards[shard][(row[chosen], *(part[chosen] for part in arrays[1:]))]
        return torch.from_numpy(values).to(self.device).float()


class BankEpisodes(EpisodeFeatures):
    """A batch of rows of a :class:`FeatureBank`; large tables are read only when asked for."""

    def __init__(self, bank: FeatureBank, videos: Tensor) -> None:
        self.bank = bank
        self.videos = videos.to(bank.device)
        on_cpu = videos.cpu()
        self.labels = bank.labels[on_cpu].to(bank.device)
        self.multi_hot = bank.multi_hot[on_cpu].to(bank.device)
        self.boxes = bank.boxes[on_cpu].to(bank.device)
        self.global_vector = bank.table("global_vector", self.videos)
        self._global_map: Tensor | None = None

    @property
    def global_map(self) -> Tensor:  # type: ignore[override]
        if self._global_map is None:
            self._global_map = self.bank.table("global_map", self.videos)
        return self._global_map

    def local_at(self, step: Tensor, action: Tensor) -> Tensor:
        videos = self.videos[:, None].expand_as(step)
        extra = action.ndim - step.ndim
        if extra:
            videos, step = videos[..., None], step[..., None]
        return self.bank.table("local", videos, step, action)

    def full(self) -> Tensor:
        return self.bank.table("full", self.videos)


class FeatureBank:
    """Opens a complete bank.

    Args:
        folder: the bank's folder.
        device: where features are wanted.
        seed: of the shuffled order of :meth:`batches`.
        expected: manifest that the bank must have (:func:`~adafocus_rl.features.build.expected_manifest`); None
            takes the bank as it is.
        resident: hold the tables on the device ("always"), read rows from disk ("never"), or hold them when they
            take at most half of the free memory ("auto").

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
                f"the feature bank in {folder} is half-written: {len(marks)} of {shard_count(manifest)} shards are done; "
                "finish it with `adafocus features build RUN`"
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
        self.local_dim = int(manifest["tables"]["full"]["shape"][0])
        self.labels = torch.from_numpy(np.concatenate(self._shards("label")))
        self.multi_hot = torch.from_numpy(np.concatenate(self._shards("multi_hot"))).float()
        self.boxes = torch.from_numpy(np.concatenate(self._shards("boxes")))
        self._videos = torch.from_numpy(np.concatenate(self._shards("valid"))).nonzero().flatten()
        size = sum(mark["bytes"][f"{name}.npy"] for mark in marks.values() for name in manifest["tables"])
        self.resident = resident == "always" or (resident == "auto" and size <= RESIDENT_SHARE * _free_memory(device))
        self._tables: dict[str, _ResidentTable | _MappedTable] = {}

    def _shards(self, name: str) -> list[np.ndarray[Any, Any]]:
        return [
            np.load(shard_folder(self.folder, number) / f"{name}.npy", mmap_mode="r")
            for number in range(shard_count(self.manifest))
        ]

    def table(self, name: str, *index: Tensor) -> Tensor:
        """Rows of a named table as float32 on the device: index tensors for its first axes (video, frame, action)."""
        if name not in self._tables:
            if name not in self.manifest["tables"]:
                raise KeyError(f"the bank has no table {name!r}; it has {', '.join(self.manifest['tables'])}")
            shards = self._shards(name)
            self._tables[name] = (
                _ResidentTable(shards, self.device)
                if self.resident
                else _MappedTable(shards, self.manifest["shard_videos"], self.device)
            )
        return self._tables[name].gather(*index)

    @property
    def videos(self) -> Tensor:
        return self._videos

    def episodes(self, videos: Tensor) -> BankEpisodes:
        """Features of the given rows (B,)."""
        return BankEpisodes(self, videos)

    def batches(self, batch_size: int, *, epoch: int | None = None) -> Iterator[BankEpisodes]:
        """All valid rows once, in index order or shuffled by (seed, epoch)."""
        for videos in video_order(self.videos, seed=self.seed, epoch=epoch).split(batch_size):
            yield self.episodes(videos)


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        # Platforms that do not tell: reading from disk is slower but never wrong.
        return 0
