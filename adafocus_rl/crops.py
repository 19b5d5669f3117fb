"""Copies of square windows of frames, as patches in channels-last layout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LARGE_PATCH = 64
"""Smallest side of patches that are copied one by one on CPU."""


def copied(frames: Tensor, rows: Sequence[int], origin: Tensor, side: int) -> Tensor:
    """Crop patches on CPU, one by one.

    Args:
        frames: (F, C, S, S).
        rows: N numbers of frames.
        origin: (N, 2) int64, the crop origins in these frames.
        side: side of the patches.

    Returns:
        (N, C, side, side).
    """
    patches = frames.new_empty(len(origin), side, side, frames.shape[1]).permute(0, 3, 1, 2)
    for patch, row, (top, left) in zip(patches, rows, origin.tolist(), strict=True):
        patch.copy_(frames[row, :, top : top + side, left : left + side])
    return patches


def windows(pixels: Tensor, rows: Tensor, origin: Tensor, side: int, size: int) -> Tensor:
    """Crop patches of one side in one gather, and resize them.

    Args:
        pixels: (F, S, S, C), frames.
        rows: (N,) or (N, 1) int64 numbers of frames.
        origin: (N, 2) or (N, K, 2) int64, the crop origins in these frames.
        side: side of the patches in the frames.
        size: side to which they are resized.

    Returns:
        (N, C, size, size) or (N, K, C, size, size).
    """
    # A view of all windows of the frame: indexing whole windows copies rows of pixels and is several times faster than
    # indexing every pixel.
    every = pixels.unfold(1, side, 1).unfold(2, side, 1).movedim(3, -1)
    patches = every[rows, origin[..., 0], origin[..., 1]].contiguous().movedim(-1, -3)
    return patches if side == size else resized(patches, size)


def resized(patches: Tensor, side: int) -> Tensor:
    """Return patches (…, C, side', side') with another side, in their own type and memory layout."""
    values = wide(patches.flatten(0, -4)).contiguous(memory_format=torch.channels_last)
    # Anti-aliased because plain bilinear sampling skips pixels when it shrinks.
    found: Tensor = F.interpolate(values, size=(side, side), mode="bilinear", antialias=True)
    found = found if patches.is_floating_point() else found.round()
    found = found.to(patches.dtype).contiguous(memory_format=torch.channels_last)
    return found.view(*patches.shape[:-2], side, side)


def wide(x: Tensor) -> Tensor:
    """Convert to at least float32: bfloat16's eight bits cannot hold a pixel coordinate."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
