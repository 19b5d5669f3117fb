"""Features in 8 bits: each frame's row has a lowest value and a step, and 256 values from the one to the highest."""

from __future__ import annotations

import torch
from torch import Tensor

LEVELS = 256
"""Number of values that 8 bits distinguish."""


def range_name(table: str) -> str:
    """Return the name of the array of ranges of a table; no table has such a name."""
    return f"{table}.range"


def compress(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Round features to 8 bits.

    Every value is off by at most half a step, (highest − lowest) / 510 of its frame, besides the rounding of float32.
    Where the lowest value is 0, as in most frames after a ReLU, zeros stay exact.

    Args:
        rows: (B, T, …), features of frames, of any floating-point type.

    Returns:
        Codes (B, T, …) uint8, and ranges (B, T, 2) float32: the lowest value and the step. A range is not finite if a
        value is not.
    """
    values = rows.float()
    low, high = values.flatten(2).aminmax(dim=-1)
    ranges = torch.stack((low, (high - low) / (LEVELS - 1)), dim=-1)
    low, step = _beside(values, ranges)
    # A frame of equal values has a step of 0.
    codes = (values - low).div_(torch.where(step > 0, step, 1.0)).round_().clamp_(0, LEVELS - 1)
    return codes.to(torch.uint8), ranges


def restore(codes: Tensor, ranges: Tensor) -> Tensor:
    """Turn codes into features, in place.

    Args:
        codes: (…, …) float32 codes; changed.
        ranges: (…, 2) float32, the lowest value and the step for the first axes of ``codes``.
    """
    low, step = _beside(codes, ranges)
    # Two operations: in a fused one, the rounding could depend on the place in memory.
    return codes.mul_(step).add_(low)


def _beside(rows: Tensor, ranges: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lowest values and the steps in a shape that broadcasts with rows."""
    low, step = ranges.unbind(-1)
    shape = (*low.shape, *(1 for _ in rows.shape[low.ndim :]))
    return low.view(shape), step.view(shape)
