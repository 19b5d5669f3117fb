"""Which videos come next when an environment runs on and on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adafocus_rl.features.source import FeatureSource, video_order
from adafocus_rl.seeding import derive_seed


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


class VideoOrders:
    """What B environments see next: one order that they share, or one of its own for each that was given a seed.

    Args:
        source: whose videos.
        seed: of the shared order.
        shuffle: a new order in every pass; otherwise index order.
    """

    def __init__(self, source: FeatureSource, *, seed: int, shuffle: bool) -> None:
        self.shared = VideoOrder(source, seed=seed, shuffle=shuffle)
        self._own: dict[int, VideoOrder] = {}

    def restart(self, rows: Sequence[int], seed: int) -> None:
        """Begins the shared order again with another seed; these environments follow it from now on."""
        self.shared.restart(seed)
        for row in rows:
            self._own.pop(row, None)

    def restart_each(self, rows: Sequence[int], seeds: Sequence[int | None]) -> None:
        """Gives each of these environments an order of its own.

        Without a seed (None) an environment goes on in the order that it has; if it has none of its own yet, the
        shared order's seed and its number give it one.
        """
        for row, seed in zip(rows, seeds, strict=True):
            if seed is None and row in self._own:
                continue
            seed = derive_seed(self.shared.seed, "environment", row) if seed is None else seed
            self._own[row] = VideoOrder(self.shared.source, seed=seed, shuffle=self.shared.shuffle)

    def take(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The next index row of each of these environments, and the number of its pass; (R,) int64 on CPU both."""
        if not self._own:
            return self.shared.take(len(rows))
        taken = [self._own.get(row, self.shared).take(1) for row in rows]
        videos, visits = zip(*taken, strict=True)
        return torch.cat(videos), torch.cat(visits)

    def seeds(self, rows: Sequence[int]) -> list[int]:
        """The seed that each of these environments follows."""
        return [self._own.get(row, self.shared).seed for row in rows]

    @property
    def all_shared(self) -> bool:
        """Whether all environments follow one order."""
        return not self._own
