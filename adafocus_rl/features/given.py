"""Clips that are already in memory, without labels, for predictions."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.errors import UserError
from adafocus_rl.features.live import LiveEpisodes
from adafocus_rl.features.source import Share, own_share, video_order
from adafocus_rl.models.recognizer import Recognizer


class GivenClips:
    """A ``FeatureSource`` of clips given as a tensor, encoded on demand.

    Args:
        recognizer: f_G, f_L and the patch grid; put in eval mode and used without gradients on its own device.
        clips: (B, T, 3, S, S), uint8 intensities or normalised floating point; with ``recognizer.clip_frames``,
            T_G + T_L frames, f_G's frames first.

    Raises:
        UserError: the clips have another shape.
    """

    def __init__(self, recognizer: Recognizer, clips: Tensor) -> None:
        side = recognizer.grid.frame_size
        frames = recognizer.clip_frames and sum(recognizer.clip_frames)
        count = frames or "T"
        fits = clips.ndim == 5 and clips.shape[2:] == (3, side, side) and 0 not in clips.shape
        if not fits or (frames and clips.shape[1] != frames):
            raise UserError(
                f"clips have shape {tuple(clips.shape)}; this recognizer takes (B, {count}, 3, {side}, {side}), videos "
                f"of {count} frames"
            )
        self.recognizer = recognizer.eval()
        self.device = recognizer.scale.device
        self.clips = clips
        self.grid = recognizer.grid
        self.num_steps = recognizer.num_steps(clips.shape[1])
        self.num_classes = recognizer.config.num_classes
        self.has_boxes = False
        self.any_position = True
        self.failed: list[tuple[str, str]] = []
        with torch.no_grad():
            # If each frame is a step, one frame determines all shapes.
            clip = recognizer.prepare(torch.zeros(1, frames or 1, 3, side, side, device=self.device))
            maps, vectors = recognizer.glance_steps(clip)
        self.map_shape = (maps.shape[2], maps.shape[3], maps.shape[4])
        self.vector_dim = vectors.shape[2]
        self.local_dim = recognizer.focus.vector_dim

    @property
    def videos(self) -> Tensor:
        """(B,) int64 on CPU."""
        return torch.arange(len(self.clips))

    def episodes(self, videos: Tensor, *, epoch: int = 0) -> LiveEpisodes:
        """Encode these clips; they are the same in every epoch, and all have label 0."""
        clips = self.clips[videos.to(self.clips.device)]
        batch = ClipBatch.unlabelled(clips, self.num_classes, rows=videos)
        return LiveEpisodes(self.recognizer, batch, device=self.device)

    def batches(
        self, batch_size: int, *, epoch: int | None = None, share: Share | None = None
    ) -> Iterator[LiveEpisodes]:
        """Yield all clips once, in order, or shuffled by the epoch, or this rank's share of them."""
        for videos in own_share(video_order(self.videos, seed=0, epoch=epoch).split(batch_size), share):
            yield self.episodes(videos)
