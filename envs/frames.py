"""Sources of the frames that decisions are drawn on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from adafocus_rl.data.clips import BadClip
from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.envs.render import map_pictures
from adafocus_rl.errors import UserError
from adafocus_rl.features import FeatureSource, LiveFeatures

Frames = Callable[[int], Tensor]
"""Function that returns the frames (T, 3, S, S) uint8 RGB of a video's clip, given its index row."""


@dataclass(frozen=True)
class ClipFrames:
    """``Frames`` that are decoded on demand, in the dataset's current epoch."""

    dataset: ClipDataset
    """The clips, by index row."""

    def __call__(self, video: int) -> Tensor:
        """Return the clip of an index row.

        Raises:
            UserError: the video is missing or cannot be decoded.
        """
        clip = self.dataset[video]
        if isinstance(clip, BadClip):
            raise UserError(
                f"there is no picture of {clip.path} ({clip.reason}); all but rendering works without the videos: put "
                f"it back into {self.dataset.index.root}, or leave render() out"
            )
        return clip.clip


@dataclass(frozen=True)
class MapFrames:
    """``Frames`` of a source without videos: grayscale pictures of its maps e^G."""

    source: FeatureSource
    """The maps, by index row."""

    def __call__(self, video: int) -> Tensor:
        """Return the maps of an index row."""
        maps = self.source.episodes(torch.tensor([video])).global_map[0]
        return map_pictures(maps, self.source.grid.frame_size)


def frames_of(source: FeatureSource) -> Frames:
    """Return the frames to draw on: the clips of live features, or pictures of e^G for any other source."""
    return ClipFrames(source.dataset) if isinstance(source, LiveFeatures) else MapFrames(source)
