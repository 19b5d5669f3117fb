"""Rows of a table, held on a device or read on demand from memory-mapped shards."""

from __future__ import annotations

import math
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
        host = self.buffer(videos.shape, given=len(index))
        if others:
            self._read_parts(host.numpy(), videos, others)
        else:
            self.read(host.view(videos.size, *host.shape[videos.ndim :]), videos.ravel())
        return host.to(self.device, non_blocking=True).float()

    def buffer(self, shape: Sequence[int], *, given: int = 1) -> Tensor:
        """Return memory for rows, page-locked if they go to a GPU.

        Args:
            shape: shape of the indices.
            given: number of the table's first axes that the indices choose.
        """
        shape = (*shape, *self.shards[0].shape[given:])
        return torch.empty(shape, dtype=torch.float16, pin_memory=self.device.type == "cuda")

    def read(self, host: Tensor, videos: NDArray[np.int64]) -> None:
        """Read whole rows of the table, each of which is contiguous on disk; only this process's memory is used.

        Args:
            host: (B, …) float16, where they are written.
            videos: (B,) rows.
        """
        for row, number, at in zip(host.numpy(), *np.divmod(videos, self.shard_videos), strict=True):
            row[...] = self.shards[number][at]

    def _read_parts(
        self, values: NDArray[np.float16], videos: NDArray[np.int64], others: list[NDArray[np.int64]]
    ) -> None:
        """Read parts of rows into ``values`` (I…, …), given indices (I…) of the video and of further axes."""
        numbers, rows = np.divmod(videos, self.shard_videos)
        for number in np.unique(numbers):
            shard, chosen = self.shards[number], numbers == number
            given = shard.shape[: 1 + len(others)]
            flat = shard.reshape(math.prod(given), *shard.shape[len(given) :])
            if chosen.all():
                # With "raise", the default, NumPy copies twice; the indices were checked above.
                np.take(flat, np.ravel_multi_index((rows, *others), given), axis=0, out=values, mode="clip")
            else:
                at = np.ravel_multi_index((rows[chosen], *(part[chosen] for part in others)), given)
                values[chosen] = flat[at]
