"""Transforms from frames to clips of one size, with the same random choices for all frames of a clip and its boxes.

All transforms are torchvision v2 transforms of a ``Video`` (T, 3, H, W) with its ``BoundingBoxes`` (T, 4). f_G and f_L
use the same transformed clip, so they are never augmented separately. Normalisation is part of the recogniser.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

from adafocus_rl.data.transform_options import TransformConfig


class MultiScaleCrop(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Crop one of several sizes at one of 13 fixed places and resize it to a square.

    Height and width of the crop are drawn from ``scales`` times the short side and differ by at most one scale. The
    places are the corners, the centre, the middles of the edges, and the points halfway between the centre and the
    corners. Source: GroupMultiScaleCrop of TSN (Wang et al. 2016), without its crops that leave the frame.
    """

    _PLACES = (
        *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)),
        *((0, 2), (2, 0), (2, 4), (4, 2)),
        *((1, 1), (1, 3), (3, 1), (3, 3)),
    )
    """(row, column) of each place, in quarters of the margin left by the crop."""

    def __init__(self, size: int, scales: Sequence[float]) -> None:
        super().__init__()
        self.size = size
        self.scales = tuple(scales)
        n = range(len(self.scales))
        self._pairs = [(i, j) for i in n for j in n if abs(i - j) <= 1]

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw {top, left, height, width} of the crop in pixels from torch's default generator."""
        full_height, full_width = _size(flat_inputs)
        short = min(full_height, full_width)
        i, j = self._pairs[_draw(len(self._pairs))]
        rows, columns = self._PLACES[_draw(len(self._PLACES))]
        height, width = (max(1, int(short * self.scales[k])) for k in (i, j))
        return {
            # Multiplied before divided; the other order never reaches the last offsets.
            "top": (full_height - height) * rows // 4,
            "left": (full_width - width) * columns // 4,
            "height": height,
            "width": width,
        }

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Crop and resize the frames or their boxes."""
        return tvf.resized_crop(inpt, **params, size=[self.size, self.size], antialias=True)


def build_transform(config: TransformConfig, *, train: bool) -> v2.Transform:
    """Build the transform of a clip and its boxes.

    Training uses the multi-scale crop of the stored frame (without resizing before it, since scales are relative) or
    the evaluation crop, then a random flip. Evaluation resizes the short side to ``config.short_side`` and takes the
    centre crop. Random choices come from torch's default generator, once per call.

    Returns:
        A transform from ``Video`` (T, 3, H, W) and ``BoundingBoxes`` (T, 4) to (T, 3, S, S) and (T, 4);
        ``apply_transform`` calls it.
    """
    steps: list[v2.Transform] = []
    if train and config.crop == "multiscale":
        steps.append(MultiScaleCrop(config.frame_size, config.scales))
    else:
        if config.short_side:
            steps.append(v2.Resize(config.short_side, antialias=True))
        steps.append(v2.CenterCrop(config.frame_size))
    if train and config.flip:
        steps.append(v2.RandomHorizontalFlip(0.5))
    return v2.Compose(steps)


def apply_transform(
    transform: v2.Transform, frames: torch.Tensor, boxes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Transform a clip and its boxes with the same random choices.

    Args:
        transform: from ``build_transform``.
        frames: (T, 3, H, W) uint8.
        boxes: (T, 4) float of [top, left, height, width] in pixels, NaN for no box.

    Returns:
        Frames (T, 3, S, S) uint8 and boxes (T, 4) float32, clipped to the frame and NaN where they lie outside.
    """
    top, left, height, width = boxes.float().unbind(1)
    corners = torch.stack([left, top, left + width, top + height], dim=1)
    size = (int(frames.shape[-2]), int(frames.shape[-1]))
    video, moved = transform(
        tv_tensors.Video(frames), tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=size)
    )
    x1, y1, x2, y2 = moved.as_subclass(torch.Tensor).unbind(1)
    seen = torch.stack([y1, x1, y2 - y1, x2 - x1], dim=1)
    # Comparisons with NaN are false, so absent boxes stay NaN.
    inside = (seen[:, 2] > 0) & (seen[:, 3] > 0)
    return video.as_subclass(torch.Tensor), torch.where(inside[:, None], seen, torch.nan)


def stored_boxes(config: TransformConfig, boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Map boxes in an evaluation clip back to the stored frames: the inverse of the resizing and the centre crop.

    Args:
        config: the transform's configuration.
        boxes: (…, 4) of [top, left, height, width] in pixels of the clip's frames.
        size: (H, W) of the stored frames, which must not be smaller than the crop.

    Returns:
        (…, 4) float64 in pixels of the stored frames, not rounded. Coordinates are those of edges: a box of the whole
        frame is [0, 0, H, W].
    """
    resized = size
    if config.short_side:
        nothing = tv_tensors.BoundingBoxes(torch.zeros(1, 4), format="XYXY", canvas_size=size)
        resized = v2.Resize(config.short_side)(nothing).canvas_size
    margin = [round((side - config.frame_size) / 2) for side in resized]  # as CenterCrop rounds
    shift, stored, clip = (torch.tensor(values, dtype=torch.float64) for values in ([*margin, 0, 0], size, resized))
    return (boxes.double() + shift) * stored.repeat(2) / clip.repeat(2)


def _size(flat_inputs: list[Any]) -> tuple[int, int]:
    """Find (height, width) of the frames among the inputs of a transform."""
    height, width = next(x.shape[-2:] for x in flat_inputs if isinstance(x, tv_tensors.Video))
    return int(height), int(width)


def _draw(high: int) -> int:
    return int(torch.randint(high, ()))
