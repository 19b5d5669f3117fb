"""Frame skipping as a decision problem (AdaFocus+): is f_L worth running on this frame at all?

π is frozen and has chosen a patch in every frame. π′ keeps a frame, and f_C sees the patch's features, or skips it, and
f_C sees zeros in their place. What is kept does not change what π observes, so its patches come from one sequence call,
and π′'s problem is patch selection between two "patches", the chosen one and none: all that
:class:`~adafocus_rl.envs.PatchSelectionVectorEnv` does holds here, the two ways to the same numbers included.

No public code of AdaFocus+ exists; what the paper leaves open (the reward, what f_C sees of a skipped frame) is our
choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import gymnasium as gym
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from adafocus_rl.envs.frames import Frames, frames_of
from adafocus_rl.envs.patch_selection import PatchSelectionVectorEnv
from adafocus_rl.envs.rewards import RewardContext
from adafocus_rl.envs.rollout import Policy, Rollout, StepPolicy
from adafocus_rl.errors import UserError
from adafocus_rl.features.bank import FeatureBank
from adafocus_rl.features.source import EpisodeFeatures, FeatureSource
from adafocus_rl.models.classifiers import Classifier

SKIP, KEEP = 0, 1
"""The two actions of π′."""


class SkippableEpisodes(EpisodeFeatures):
    """Episodes whose patches are chosen; an action says whether f_L looks at one.

    Args:
        episodes: the features behind them.
        patches: (B, T) int64 grid actions or (B, T, 2) float32 positions, what π chose.
    """

    def __init__(self, episodes: EpisodeFeatures, patches: Tensor) -> None:
        self.episodes = episodes
        self.patches = patches
        self.videos = episodes.videos
        self.labels = episodes.labels
        self.multi_hot = episodes.multi_hot
        self.true_boxes = episodes.true_boxes
        self.global_vector = episodes.global_vector

    @property
    def global_map(self) -> Tensor:  # type: ignore[override]  # read when asked for, as a bank does
        """(B, T, C, h, w)."""
        return self.episodes.global_map

    @property
    def motion(self) -> Tensor | None:  # type: ignore[override]  # read only here
        """(B, T, m, m)."""
        return self.episodes.motion

    def local_at(self, step: Tensor, action: Tensor) -> Tensor:
        """f_L features of the chosen patches where ``action`` is :data:`KEEP`, zeros where it is :data:`SKIP`."""
        steps = step if action.ndim == step.ndim else step[..., None].expand_as(action)
        steps = steps.flatten(1)
        video = torch.arange(len(self), device=steps.device)[:, None]
        local = self.episodes.kept_local_at(steps, self.patches[video, steps], action.flatten(1) == KEEP)
        return local.view(*action.shape, -1)

    def full(self) -> Tensor:
        """Whole frames; nothing is skipped."""
        return self.episodes.full()

    def clone(self) -> SkippableEpisodes:
        """The same in memory of their own."""
        return SkippableEpisodes(self.episodes.clone(), self.patches.clone())

    def overwrite(self, rows: Tensor, other: EpisodeFeatures) -> None:
        """Puts the videos of ``other`` in the place of some of these."""
        assert isinstance(other, SkippableEpisodes)
        self.episodes.overwrite(rows, other.episodes)
        self.patches.index_copy_(0, rows, other.patches)


class SkippableFeatures:
    """A :class:`~adafocus_rl.features.source.FeatureSource` whose episodes are :class:`SkippableEpisodes`.

    π is asked for its best patches; one that draws lots has those of each video's first visit. On a bank, where a
    video looks the same in every epoch, it is asked once per video and not again.

    Args:
        env: π's environment: the features, and what π observes of them.
        policy: frozen π.
    """

    def __init__(self, env: PatchSelectionVectorEnv, policy: Policy | StepPolicy) -> None:
        source = env.source
        self.env = env
        self.policy = policy
        self.grid = source.grid
        self.num_frames = source.num_frames
        self.num_classes = source.num_classes
        self.map_shape = source.map_shape
        self.vector_dim = source.vector_dim
        self.local_dim = source.local_dim
        self.device = source.device
        self.has_boxes = source.has_boxes
        self.any_position = False
        # The same list: it grows while videos are read.
        self.failed = source.failed
        self.fixed = isinstance(source, FeatureBank)
        self._patches: Tensor | None = None

    @property
    def videos(self) -> Tensor:
        """(N,) int64 on CPU, the index rows that can be used."""
        return self.env.source.videos

    def episodes(self, videos: Tensor, *, epoch: int = 0) -> SkippableEpisodes:
        """Features of the given index rows (B,), and π's patches in them."""
        return self._with_patches(self.env.source.episodes(videos, epoch=epoch))

    def batches(self, batch_size: int, *, epoch: int | None = None) -> Iterator[SkippableEpisodes]:
        """All usable videos once, in the source's order."""
        for episodes in self.env.source.batches(batch_size, epoch=epoch):
            yield self._with_patches(episodes)

    def choose(self, episodes: EpisodeFeatures) -> SkippableEpisodes:
        """Asks π for its patches in any episodes, those of another source, say; one sequence call."""
        info = self.env.info(episodes, torch.zeros_like(episodes.videos))
        _, output = self.env.decide(self.policy, episodes, info, deterministic=True)
        return SkippableEpisodes(episodes, output.action)

    def _with_patches(self, episodes: EpisodeFeatures) -> SkippableEpisodes:
        if not self.fixed:
            return self.choose(episodes)
        if self._patches is None:
            parts = [self.choose(part) for part in self.env.source.batches(self.env.num_envs)]
            rows, found = torch.cat([part.videos for part in parts]), torch.cat([part.patches for part in parts])
            self._patches = found.new_zeros(int(self.videos.max()) + 1, *found.shape[1:])
            self._patches[rows] = found
        return SkippableEpisodes(episodes, self._patches[episodes.videos])


class FrameSkippingVectorEnv(PatchSelectionVectorEnv):
    """B videos side by side; one step is one frame; π′ decides whether f_L looks at it.

    Observation: e^G of the current frame, as π's environment has it (map or vector). Action: :data:`SKIP` or
    :data:`KEEP`, (B,) int64. Reward of a kept frame: p(true class | with the patch) − p(true class | without) − price,
    both from the same history; of a skipped one: 0. Everything else, autoreset and infos included, is as in
    :class:`~adafocus_rl.envs.PatchSelectionVectorEnv`.

    A source that computes features when asked runs f_L on the kept patches alone; to learn how many they are, it waits
    for the device.

    Args:
        patches: π's environment, for its features, f_C, and what π observes and how it acts; and what the arguments
            below leave open.
        policy: frozen π, who chooses the patches.
        price: λ, what a run of f_L costs, in probability of the true class. Below 0 looking is rewarded.
        num_envs: B, at least 1.
        shuffle: a new order of videos in every pass; otherwise index order.
        seed: of the order.
        autoreset_mode: SAME_STEP, NEXT_STEP or DISABLED.
        render_mode: as in patch selection, and so are the others.
        frames: what to draw on.
        max_episode_steps: T.

    Raises:
        UserError: a price that is no number, or fewer than one environment.
    """

    source: SkippableFeatures
    skips_frames = True

    def __init__(
        self,
        patches: PatchSelectionVectorEnv,
        policy: Policy | StepPolicy,
        *,
        price: float,
        num_envs: int | None = None,
        shuffle: bool | None = None,
        seed: int | None = None,
        autoreset_mode: AutoresetMode | None = None,
        render_mode: Literal["rgb_array"] | None = None,
        frames: Frames | None = None,
        max_episode_steps: int | None = None,
    ) -> None:
        if not math.isfinite(price):
            raise UserError(f"the price of a frame is {price}; give a finite number, 0.01 say")
        super().__init__(
            SkippableFeatures(patches, policy),
            patches.classifier,
            num_envs=patches.num_envs if num_envs is None else num_envs,
            observation=patches.space_config.observation,
            shuffle=patches.shuffle if shuffle is None else shuffle,
            seed=patches.seed if seed is None else seed,
            autoreset_mode=patches.autoreset_mode if autoreset_mode is None else autoreset_mode,
            render_mode=render_mode,
            frames=frames_of(patches.source) if frames is None else frames,
            max_episode_steps=max_episode_steps,
        )
        self.patches = patches
        self.policy = policy
        self.price = price
        self._reward = self._gain
        self.spaces.action = gym.spaces.Discrete(2)
        self.single_action_space = self.spaces.action
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def like(
        self, source: FeatureSource, classifier: Classifier | None = None, *, num_envs: int | None = None
    ) -> FrameSkippingVectorEnv:
        """The same decision problem (π, price, seed) on other features, with another f_C, for other B."""
        source = source.env.source if isinstance(source, SkippableFeatures) else source
        return FrameSkippingVectorEnv(
            self.patches.like(source, classifier or self.classifier),
            self.policy,
            price=self.price,
            num_envs=num_envs or self.num_envs,
            shuffle=self.shuffle,
            seed=self.seed,
            autoreset_mode=self.autoreset_mode,
        )

    @property
    def chosen(self) -> Tensor:
        """π's grid actions (B, T) or positions (B, T, 2) in the episodes under way.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset.
        """
        if self._running is None:
            raise gym.error.ResetNeeded("call reset() first: there are no episodes yet")
        episodes = self._running.episodes
        assert isinstance(episodes, SkippableEpisodes)
        return episodes.patches

    def _chosen_boxes(self, actions: Tensor) -> Tensor:
        """π's patches (B, 4) in the frames that were kept last, an empty box elsewhere."""
        assert self._running is not None
        step = (self._running.frame - 1).clamp_min(0)
        patches = self.chosen[torch.arange(self.num_envs, device=step.device), step]
        return self.source.grid.box(self.patches.spaces.origin(patches)) * (actions == KEEP)[:, None]

    def chosen_boxes(self, rollout: Rollout) -> Tensor:
        """The boxes (B, T, 4) int64 of π's patches, in pixels, those of skipped frames included."""
        return self.source.grid.box(self.patches.spaces.origin(self._choose(rollout.episodes).patches))

    def kept_frames(self, rollout: Rollout) -> Tensor:
        """(B, T) bool: whether f_L looked at the frame."""
        return rollout.output.action == KEEP

    def patch_probabilities(self, rollout: Rollout) -> Tensor | None:
        """π's probabilities (B, T, A) of the grid's positions, for which π is asked again; None if π gives none."""
        episodes = self._choose(rollout.episodes).episodes
        info = self.patches.info(episodes, torch.zeros_like(episodes.videos))
        return self.patches.decide(self.policy, episodes, info, deterministic=True)[1].probabilities

    def local(self, episodes: EpisodeFeatures, action: Tensor) -> Tensor:
        """f_L features (B, T, D_L) of the kept frames, zeros in the others; of any episodes."""
        return super().local(self._choose(episodes), action)

    def rollout(
        self,
        policy: Policy | StepPolicy,
        *,
        episodes: EpisodeFeatures | None = None,
        visit: int = 0,
        deterministic: bool = False,
        with_reward: bool = True,
    ) -> Rollout:
        """As in patch selection; ``policy`` is π′, and π chooses patches in ``episodes`` that have none yet."""
        return super().rollout(
            policy,
            episodes=None if episodes is None else self._choose(episodes),
            visit=visit,
            deterministic=deterministic,
            with_reward=with_reward,
        )

    def _choose(self, episodes: EpisodeFeatures) -> SkippableEpisodes:
        return episodes if isinstance(episodes, SkippableEpisodes) else self.source.choose(episodes)

    def _gain(self, context: RewardContext) -> Tensor:
        return skipping_reward(context, self.price)


def skipping_reward(context: RewardContext, price: float) -> Tensor:
    """p(with f_L) − p(without) − λ where the frame is kept, 0 where it is skipped; (N,)."""
    zero = context.global_vector.new_zeros(len(context.labels), 1, context.local_dim)
    gain = context.chosen - context.with_local(zero).squeeze(-1) - price
    return torch.where(context.action == KEEP, gain, 0.0)
