"""Which videos come next when an environment runs on and on."""

from __future__ import annotations

import torch
from torch import Tensor

from adafocus_rl.features.source import FeatureSource, video_order


class VideoOrder:
    """Pass after pass over a source's videos; a batch that ends a pass is filled up with the next one's first videos.

    Args:
        source: whose videos.
        seed: of the order.
        shuffle: a new order in every pass; otherwise index order.
    """

    def __init__(self, source: FeatureSource, *, seed: int, shuffle: bool) -> None:
        self.source = source
        self.shuffle = shuffle
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """Begins the first pass again, in the order of another seed."""
        self.seed = seed
        self._passes = 0
        self._videos = torch.empty(0, dtype=torch.long)
        self._visits = torch.empty(0, dtype=torch.long)

    def take(self, count: int) -> tuple[Tensor, Tensor]:
        """The next index rows, and the number of the pass each belongs to; (count,) int64 on CPU both."""
        while len(self._videos) < count:
            epoch = self._passes if self.shuffle else None
            videos = video_order(self.source.videos, seed=self.seed, epoch=epoch)
            self._videos = torch.cat((self._videos, videos))
            self._visits = torch.cat((self._visits, torch.full_like(videos, self._passes)))
            self._passes += 1
        videos, self._videos = self._videos[:count], self._videos[count:]
        visits, self._visits = self._visits[:count], self._visits[count:]
        return videos, visits
