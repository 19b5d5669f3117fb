"""Rows of a table, held on a device or read on demand from memory-mapped shards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class ResidentRows:
    """A table (N, …) held on the device."""

    def __init__(self, shards: Sequence[NDArray[np.float16]], device: torch.device) -> None:
        videos = sum(len(shard) for shard in shards)
        self.values = torch.empty((videos, *shards[0].shape[1:]), dtype=torch.float16, device=device)
        for part, shard in zip(self.values.split([len(shard) for shard in shards]), shards, strict=True):
            part.copy_(torch.from_numpy(shard))

    def gather(self, *index: Tensor) -> Tensor:
        """Return rows as float32, given int64 indices of the first axes, on the device, that broadcast together."""
        return self.values[index].float()


class MappedRows:
    """A table (N, …) in memory-mapped shards; only the requested rows are read and moved to the device."""

    def __init__(self, shards: Sequence[NDArray[np.float16]], shard_videos: int, device: torch.device) -> None:
        self.shards = shards
        self.shard_videos = shard_videos
        self.device = device

    def gather(self, *index: Tensor) -> Tensor:
        """Return rows like ``ResidentRows.gather``."""
        videos, *others = (part.cpu().numpy() for part in torch.broadcast_tensors(*index))
        number, row = np.divmod(videos, self.shard_videos)
        values = np.empty((*row.shape, *self.shards[0].shape[len(index) :]), dtype=np.float16)
        for shard in np.unique(number):
            chosen = number == shard
            at = (row[chosen], *(part[chosen] for part in others))
            values[chosen] = self.shards[shard][at]
        return torch.from_numpy(values).to(self.device).float()
