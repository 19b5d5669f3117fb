"""Rows of a table, held on a device or read on demand from memory-mapped shards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adafocus_rl.features.arrays import blocks
from adafocus_rl.features.eight_bit import restore

MAP_AXES = 3
"""Axes (C, h, w) of a map."""


class ResidentRows:
    """A table (N, T, …) held on the device.

    Maps (N, T, C, h, w) are held with the channels as the last axis in memory, so that a 1×1 convolution is one matrix
    product without a permuted copy. Their shape is the same as in a table that is read from disk.

    Args:
        shards: the table's rows, float16, or uint8 for features in 8 bits.
        device: the device.
        ranges: (N, T, 2), for features in 8 bits, on the device (``eight_bit.compress``).
    """

    def __init__(self, shards: Sequence[NDArray[Any]], device: torch.device, ranges: Tensor | None = None) -> None:
        videos, shape = sum(len(shard) for shard in shards), shards[0].shape[1:]
        self._maps = len(shape) == 1 + MAP_AXES
        held = (shape[0], *shape[2:], shape[1]) if self._maps else shape
        self.values = torch.empty((videos, *held), dtype=_dtype_of(shards), device=device)
        self.ranges = ranges
        for part, shard in zip(self.values.split([len(shard) for shard in shards]), shards, strict=True):
            for start, block in blocks(shard):
                rows = torch.from_numpy(np.array(block))  # torch warns about arrays that cannot be written to
                part[start : start + len(rows)].copy_(rows.movedim(2, -1) if self._maps else rows)

    def gather(self, *index: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return rows, given int64 indices of the first axes, on the device, that broadcast together.

        No more axes than (N, T) of a table of maps can be indexed.

        Args:
            *index: the indices.
            dtype: type of the rows, which are those in float32, rounded. On a GPU, float32 is not written to memory.
        """
        rows = self._whole_videos(index[0]) if len(index) == 1 else None
        if rows is None:
            rows = self.values[index]
        rows = _restored(rows, self.ranges, index).to(dtype)
        return rows.movedim(-1, -MAP_AXES) if self._maps else rows

    def _whole_videos(self, videos: Tensor) -> Tensor | None:
        """Return the rows of videos (B,), converted one by one; None on devices that convert a copy faster."""
        if self.values.device.type != "cpu" or videos.ndim != 1:
            return None
        rows = _new_rows((len(videos), *self.values.shape[1:]))
        for row, video in zip(rows, videos.tolist(), strict=True):
            row.copy_(self.values[video])
        return rows


class MappedRows:
    """A table (N, …) in memory-mapped shards; only the requested rows are read and moved to the device.

    Args:
        shards: as for ``ResidentRows``.
        shard_videos: number of videos of each shard but the last.
        device: the device.
        ranges: as for ``ResidentRows``; there are so few that they are held there.
    """

    def __init__(
        self, shards: Sequence[NDArray[Any]], shard_videos: int, device: torch.device, ranges: Tensor | None = None
    ) -> None:
        self.shards = shards
        self.shard_videos = shard_videos
        self.device = device
        self.ranges = ranges
        self._shape, self._dtype = shards[0].shape[1:], _dtype_of(shards)

    def gather(self, *index: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return rows like ``ResidentRows.gather``."""
        videos, *others = (part.cpu().numpy() for part in torch.broadcast_tensors(*index))
        host = self.buffer(videos.shape, given=len(index))
        if others:
            self._read_parts(host.numpy(), videos, others)
        else:
            self.read(host.view(videos.size, *host.shape[videos.ndim :]), videos.ravel())
        return self.as_given(host.to(self.device, non_blocking=True), *index).to(dtype)

    def as_given(self, rows: Tensor, *index: Tensor) -> Tensor:
        """Return rows on the device as ``ResidentRows.gather`` does: float32, maps with channels last in memory.

        Otherwise the results of a table in memory and of one on disk would differ by rounding.

        Args:
            rows: rows as they are stored, in a table's order of axes.
            *index: indices of the table's first axes with which they were read, on the device.
        """
        maps = len(self._shape) == 1 + MAP_AXES and len(index) <= 2
        rows = rows.movedim(-MAP_AXES, -1) if maps else rows
        if rows.device.type == "cpu":
            values = _new_rows(rows.shape).copy_(rows)
        else:
            values = rows.to(torch.float32, memory_format=torch.contiguous_format)
        values = _restored(values, self.ranges, index)
        return values.movedim(-1, -MAP_AXES) if maps else values

    def buffer(self, shape: Sequence[int], *, given: int = 1) -> Tensor:
        """Return memory for rows, page-locked if they go to a GPU.

        Args:
            shape: shape of the indices.
            given: number of the table's first axes that the indices choose.
        """
        shape = (*shape, *self._shape[given - 1 :])
        return torch.empty(shape, dtype=self._dtype, pin_memory=self.device.type == "cuda")

    def read(self, host: Tensor, videos: NDArray[np.int64]) -> None:
        """Read whole rows of the table, each of which is contiguous on disk; only this process's memory is used.

        Args:
            host: (B, …), where they are written.
            videos: (B,) rows.
        """
        rows = host.numpy()
        for place in np.argsort(videos):  # in the order on disk, which also opens each shard once
            number, at = divmod(int(videos[place]), self.shard_videos)
            rows[place] = self.shards[number][at]

    def _read_parts(self, values: NDArray[Any], videos: NDArray[np.int64], others: list[NDArray[np.int64]]) -> None:
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


def _dtype_of(shards: Sequence[NDArray[Any]]) -> torch.dtype:
    """Return the type of a table's tensors."""
    return torch.from_numpy(np.empty(0, dtype=shards[0].dtype)).dtype


def _restored(rows: Tensor, ranges: Tensor | None, index: Sequence[Tensor]) -> Tensor:
    """Return rows as features, given the indices with which they were read; those in 8 bits become float32."""
    if ranges is None:
        return rows
    frames = torch.broadcast_tensors(*index)[:2]
    return restore(rows.float(), ranges[tuple(frames)])


def _new_rows(shape: Sequence[int]) -> Tensor:
    """Return uninitialised float32 memory on the CPU.

    NumPy asks for huge pages. With torch's small ones, page faults take most of the time to fill a new array.
    """
    return torch.from_numpy(np.empty(shape, dtype=np.float32))
