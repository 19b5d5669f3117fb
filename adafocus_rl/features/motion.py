"""Motion between a clip's frames: differences of small grey pictures, cheap enough to compute for every frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from adafocus_rl.geometry import PatchGrid

THUMBNAIL = 32
"""m, side of the grey pictures."""


def thumbnails(frames: Tensor) -> Tensor:
    """Return small grey pictures (N, m, m) of prepared frames (N, 3, S, S): means over the channels and over areas."""
    return F.adaptive_avg_pool2d(frames.mean(1, keepdim=True), THUMBNAIL)[:, 0]


def frame_differences(pictures: Tensor) -> Tensor:
    """Return absolute differences (B, T, m, m) between each picture and the previous one; zeros in the first frame.

    The clip's sampled frames are compared, since no others are decoded; the difference of frame t uses no later frame.
    """
    difference = pictures.diff(dim=1).abs()
    return torch.cat((torch.zeros_like(pictures[:, :1]), difference), dim=1)


def patch_means(values: Tensor, grid: PatchGrid) -> Tensor:
    """Return the means of pictures (…, m, m) over the patch of every action, (…, A).

    A cell that a patch covers in part is weighted by the covered share.
    """
    return torch.cat([_means_on(values, one) for one in grid.each], dim=-1)


def _means_on(values: Tensor, grid: PatchGrid) -> Tensor:
    """Return ``patch_means`` on a grid of one scale."""
    side = values.shape[-1]
    scale = side / grid.frame_size
    first = grid.action_origin(torch.arange(grid.grid, device=values.device))[:, 1] * scale
    cell = torch.arange(side, device=values.device)
    start, end = torch.maximum(first[:, None], cell), torch.minimum(first[:, None] + grid.side * scale, cell + 1)
    share = (end - start).clamp_min(0) / (grid.side * scale)
    return torch.einsum("rh,...hw,cw->...rc", share.to(values.dtype), values, share.to(values.dtype)).flatten(-2)
