"""Episodes in which π has selected the patches, for the decision whether f_L is run on them.

f_L's features of live episodes are kept once they are computed: if π′ observes f_C, they are needed for the next
decision and again for the predictions.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from adafocus_rl.envs.problem import DecisionProblem
from adafocus_rl.envs.rollout import Policy, PolicyOutput, StepPolicy
from adafocus_rl.envs.whole_episodes import decide, info_for
from adafocus_rl.features import TableSpec
from adafocus_rl.features.bank import FeatureBank
from adafocus_rl.features.live import LiveEpisodes
from adafocus_rl.features.source import EpisodeFeatures, Share

SKIP, KEEP = 0, 1
"""The two actions of π′."""


class SkippableEpisodes(EpisodeFeatures):
    """Episodes with selected patches; an action decides whether f_L is run on a patch.

    Args:
        episodes: features of the episodes.
        patches: (B, T) int64 grid actions or (B, T, 2) float32 positions that π selected.
    """

    def __init__(self, episodes: EpisodeFeatures, patches: Tensor) -> None:
        self.episodes = episodes
        self.patches = patches
        self.videos = episodes.videos
        self.labels = episodes.labels
        self.multi_hot = episodes.multi_hot
        self.true_boxes = episodes.true_boxes
        self.global_vector = episodes.global_vector
        self._local: Tensor | None = None
        self._computed = torch.zeros(patches.shape[:2], dtype=torch.bool, device=patches.device)

    @property
    def global_map(self) -> Tensor:  # type: ignore[override]  # read at the first use, as in a bank
        """(B, T, C, h, w)."""
        return self.episodes.global_map

    @property
    def motion(self) -> Tensor | None:  # type: ignore[override]  # read-only here
        """(B, T, m, m)."""
        return self.episodes.motion

    def patches_at(self, step: Tensor) -> Tensor:
        """Return the selected patches (B, M[, 2]) in the frames (B, M)."""
        return self.patches[torch.arange(len(self), device=step.device)[:, None], step]

    def local_at(self, step: Tensor, action: Tensor) -> Tensor:
        """Return f_L's features of the selected patches where ``action`` is ``KEEP``, zeros where it is ``SKIP``."""
        steps = step if action.ndim == step.ndim else step[..., None].expand_as(action)
        steps = steps.flatten(1)
        kept, patches = action.flatten(1) == KEEP, self.patches_at(steps)
        remember = isinstance(self.episodes, LiveEpisodes)
        local = (self._remembered if remember else self.episodes.kept_local_at)(steps, patches, kept)
        return local.view(*action.shape, -1)

    def _remembered(self, steps: Tensor, patches: Tensor, kept: Tensor) -> Tensor:
        """Return the same as ``kept_local_at``, but run f_L only on patches on which it has not been run."""
        rows = torch.arange(len(self), device=steps.device)[:, None].expand_as(steps)
        new = kept & ~self._computed[rows, steps]
        local = self.episodes.kept_local_at(steps, patches, new)
        if self._local is None:
            self._local = local.new_zeros(*self.patches.shape[:2], local.shape[-1])
        chosen = new.nonzero(as_tuple=True)
        places = chosen[0], steps[chosen]
        self._local[places] = local[chosen]
        self._computed[places] = True
        return torch.where(kept[..., None], self._local[rows, steps], 0.0)

    def full(self) -> Tensor:
        """Return f_L's features of all whole frames; none is skipped."""
        return self.episodes.full()

    def table(self, table: TableSpec) -> Tensor:
        """Return a table's rows of all frames; none is skipped."""
        return self.episodes.table(table)

    def table_at(self, table: TableSpec, step: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return a table's rows of some frames."""
        return self.episodes.table_at(table, step, keep)

    def clone(self) -> SkippableEpisodes:
        """Return a copy that shares no memory with these episodes."""
        other = SkippableEpisodes(self.episodes.clone(), self.patches.clone())
        other._computed = self._computed.clone()
        other._local = None if self._local is None else self._local.clone()
        return other

    def overwrite(self, rows: Tensor, other: EpisodeFeatures) -> None:
        """Replace some of these videos by those of ``other``, in place."""
        assert isinstance(other, SkippableEpisodes)
        self.episodes.overwrite(rows, other.episodes)
        self.patches.index_copy_(0, rows, other.patches)
        self._computed[rows] = False


class SkippableFeatures:
    """A ``FeatureSource`` whose episodes are ``SkippableEpisodes``.

    π acts deterministically; a random π selects the patches of each video's first visit. On a bank, where a video has
    the same features in every epoch, π runs once per video.

    Args:
        patches: π's decision problem, which defines the features and π's observations.
        policy: frozen π.
        batch_size: number of videos per call of π when it runs on all videos.
    """

    def __init__(self, patches: DecisionProblem, policy: Policy | StepPolicy, *, batch_size: int) -> None:
        source = patches.source
        self.patches = patches
        self.policy = policy
        self.batch_size = batch_size
        self.grid = source.grid
        self.num_steps = source.num_steps
        self.num_classes = source.num_classes
        self.map_shape = source.map_shape
        self.vector_dim = source.vector_dim
        self.local_dim = source.local_dim
        self.device = source.device
        self.has_boxes = source.has_boxes
        self.any_position = False
        # The same list object, because it grows while videos are read.
        self.failed = source.failed
        self.fixed = isinstance(source, FeatureBank)
        self._chosen: Tensor | None = None

    @property
    def videos(self) -> Tensor:
        """(N,) int64 on CPU, the usable index rows."""
        return self.patches.source.videos

    def episodes(self, videos: Tensor, *, epoch: int = 0) -> SkippableEpisodes:
        """Return the features of the given index rows (B,), with π's patches."""
        return self._with_patches(self.patches.source.episodes(videos, epoch=epoch))

    def batches(
        self, batch_size: int, *, epoch: int | None = None, share: Share | None = None
    ) -> Iterator[SkippableEpisodes]:
        """Yield all usable videos once, in the source's order, or this rank's share of them."""
        for episodes in self.patches.source.batches(batch_size, epoch=epoch, share=share):
            yield self._with_patches(episodes).as_part(episodes.counts)

    def choose(self, episodes: EpisodeFeatures) -> SkippableEpisodes:
        """Return episodes of any source with the patches that π selects in them."""
        return SkippableEpisodes(episodes, self.ask(episodes).action)

    def ask(self, episodes: EpisodeFeatures) -> PolicyOutput:
        """Return π's output for episodes of any source, in one call unless π observes its own last action."""
        info = info_for(self.policy, self.patches, episodes, torch.zeros_like(episodes.videos))
        return decide(self.patches, self.policy, episodes, info, deterministic=True)[1]

    def _with_patches(self, episodes: EpisodeFeatures) -> SkippableEpisodes:
        if not len(episodes):  # a rank's part of a small batch
            return SkippableEpisodes(episodes, episodes.videos.new_zeros(0, self.num_steps))
        if not self.fixed:
            return self.choose(episodes)
        if self._chosen is None:
            parts = [self.choose(part) for part in self.patches.source.batches(self.batch_size)]
            rows, found = torch.cat([part.videos for part in parts]), torch.cat([part.patches for part in parts])
            self._chosen = found.new_zeros(int(self.videos.max()) + 1, *found.shape[1:])
            self._chosen[rows] = found
        return SkippableEpisodes(episodes, self._chosen[episodes.videos])
