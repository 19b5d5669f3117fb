"""Clips of single videos and batches of clips; a batch names its unreadable videos and never replaces them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Clip:
    """T frames of one video, with their annotations."""

    clip: Tensor
    """(T, 3, S, S) uint8 RGB."""
    label: Tensor
    """() int64: the first of the video's labels."""
    multi_hot: Tensor
    """(K,) float32: 1 for each of the video's labels."""
    true_boxes: Tensor
    """(T, 4) float32 [top, left, height, width] in pixels of the clip's frames; NaN where absent or
    unknown."""
    frames: Tensor
    """(T,) int64 frame numbers in the stored video."""
    row: Tensor
    """() int64 row of the video in its index."""
    size: tuple[int, int] | None = None
    """(H, W) of the stored frames in pixels; None if unknown."""


@dataclass(frozen=True, kw_only=True)
class BadClip:
    """Placeholder for the clip of a video that could not be read."""

    row: int
    """Row of the video in its index."""
    path: str
    """The path as listed."""
    reason: str
    """Why it could not be read."""
    shape: tuple[int, int, int]
    """(T, S, K) of the missing clip."""


@dataclass(frozen=True, kw_only=True)
class ClipBatch:
    """The clips of the B readable videos of a batch, and the names of the unreadable ones."""

    clips: Tensor
    """(B, T, 3, S, S) uint8 RGB."""
    labels: Tensor
    """(B,) int64."""
    multi_hot: Tensor
    """(B, K) float32."""
    true_boxes: Tensor
    """(B, T, 4) float32 [top, left, height, width] in pixels of the clips' frames; NaN where absent or
    unknown."""
    frames: Tensor
    """(B, T) int64 frame numbers in the stored videos."""
    rows: Tensor
    """(B,) int64 rows of the videos in their index."""
    failed: list[tuple[str, str]]
    """(path, reason) of each unreadable video; they are not counted in B."""

    @classmethod
    def unlabelled(cls, clips: Tensor, num_classes: int, *, rows: Tensor) -> ClipBatch:
        """Create a batch of clips (B, T, 3, S, S) without annotations: label 0, all-zero ``multi_hot``, no true boxes.

        Args:
            clips: uint8 intensities, or already normalised.
            num_classes: K.
            rows: (B,) int64, the numbers of the clips.
        """
        count, frames = clips.shape[:2]
        return cls(
            clips=clips,
            labels=torch.zeros(count, dtype=torch.int64),
            multi_hot=torch.zeros(count, num_classes),
            true_boxes=torch.full((count, frames, 4), torch.nan),
            frames=torch.arange(frames).expand(count, -1),
            rows=rows,
            failed=[],
        )

    def __len__(self) -> int:
        return int(self.clips.shape[0])

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> ClipBatch:
        """Return the batch with its tensors on ``device``."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> ClipBatch:
        """Return the batch with its tensors in page-locked memory (called by the loader)."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> ClipBatch:
        return ClipBatch(
            clips=change(self.clips),
            labels=change(self.labels),
            multi_hot=change(self.multi_hot),
            true_boxes=change(self.true_boxes),
            frames=change(self.frames),
            rows=change(self.rows),
            failed=self.failed,
        )


def collate(items: Sequence[Clip | BadClip]) -> ClipBatch:
    """Stack clips into a batch and list the unreadable videos; B = 0 if all are unreadable.

    Raises:
        ValueError: ``items`` is empty.
    """
    if not items:
        raise ValueError("no clip to collate; expected at least one")
    good = [item for item in items if isinstance(item, Clip)]
    bad = [item for item in items if isinstance(item, BadClip)]
    if good:
        (t, _, s, _), k = good[0].clip.shape, len(good[0].multi_hot)
    else:
        t, s, k = bad[0].shape
    return ClipBatch(
        clips=_stack([item.clip for item in good], (t, 3, s, s), torch.uint8),
        labels=_stack([item.label for item in good], (), torch.int64),
        multi_hot=_stack([item.multi_hot for item in good], (k,), torch.float32),
        true_boxes=_stack([item.true_boxes for item in good], (t, 4), torch.float32),
        frames=_stack([item.frames for item in good], (t,), torch.int64),
        rows=_stack([item.row for item in good], (), torch.int64),
        failed=[(item.path, item.reason) for item in bad],
    )


def _stack(tensors: list[Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.stack(tensors) if tensors else torch.empty((0, *shape), dtype=dtype)
