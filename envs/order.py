"""The order in which environments visit the videos of a source."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adafocus_rl.features.source import EpisodeFeatures, FeatureSource, video_order
from adafocus_rl.seeding import derive_seed


class VideoOrder:
    """Endless passes over a source's videos; a batch at the end of a pass is filled with videos of the next pass.

    Args:
        source: source of the videos.
        seed: seed of the order.
        shuffle: draw a new order in every pass; False for index order.
    """

    def __init__(self, source: FeatureSource, *, seed: int, shuffle: bool) -> None:
        self.source = source
        self.shuffle = shuffle
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """Restart at the first pass with another seed."""
        self.seed = seed
        self._passes = 0
        self._videos = torch.empty(0, dtype=torch.long)
        self._visits = torch.empty(0, dtype=torch.long)

    def take(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the next index rows and the number of each one's pass, both (count,) int64 on CPU."""
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
    """Orders of videos for B environments: a shared one, and a separate one for each environment with its own seed.

    Args:
        source: source of the videos.
        seed: seed of the shared order.
        shuffle: draw a new order in every pass; False for index order.
    """

    def __init__(self, source: FeatureSource, *, seed: int, shuffle: bool) -> None:
        self.shared = VideoOrder(source, seed=seed, shuffle=shuffle)
        self._own: dict[int, VideoOrder] = {}

    def restart(self, rows: Sequence[int], seed: int) -> None:
        """Restart the shared order with another seed, and make these environments follow it."""
        self.shared.restart(seed)
        for row in rows:
            self._own.pop(row, None)

    def restart_each(self, rows: Sequence[int], seeds: Sequence[int | None]) -> None:
        """Give each of these environments a separate order.

        An environment without a seed (None) keeps its separate order. If it has none, its seed is derived from the
        shared order's seed and the number of the environment.
        """
        for row, seed in zip(rows, seeds, strict=True):
            if seed is None and row in self._own:
                continue
            seed = derive_seed(self.shared.seed, "environment", row) if seed is None else seed
            self._own[row] = VideoOrder(self.shared.source, seed=seed, shuffle=self.shared.shuffle)

    def take(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return each of these environments' next index row and the number of its pass, both (R,) int64 on CPU."""
        if not self._own:
            return self.shared.take(len(rows))
        taken = [self._own.get(row, self.shared).take(1) for row in rows]
        videos, visits = zip(*taken, strict=True)
        return torch.cat(videos), torch.cat(visits)

    def seeds(self, rows: Sequence[int]) -> list[int]:
        """Return the seed of the order of each of these environments."""
        return [self._own.get(row, self.shared).seed for row in rows]

    @property
    def all_shared(self) -> bool:
        """Whether all environments follow one order."""
        return not self._own


def episodes_of(source: FeatureSource, videos: Tensor, visits: Tensor) -> EpisodeFeatures:
    """Return features of index rows (R,) on CPU; augmentation depends on each video's visit, (R,) on CPU."""
    first, *others = visits.unique().tolist()
    episodes = source.episodes(videos, epoch=first)
    for visit in others:  # in a batch that spans several passes
        rows = (visits == visit).nonzero().flatten()
        again = source.episodes(videos[rows], epoch=visit)
        episodes.overwrite(rows.to(source.device, non_blocking=True), again)
    return episodes
