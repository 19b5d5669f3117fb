"""Frame skipping as a decision problem (AdaFocus+): is f_L worth running on this frame at all?

π is frozen and has chosen a patch in every frame. π′ keeps a frame, and f_C sees the patch's features, or skips it, and
f_C sees zeros in their place. What is kept does not change what π observes, so its patches are known beforehand, and
whatever π′ observes is, too: π′ is asked once for whole episodes even where π is asked frame by frame.

No public code of AdaFocus+ exists; what the paper leaves open (the reward, what f_C sees of a skipped frame) is our
choice.
"""

from __future__ import annotations

import math
from typing import Literal

import gymnasium as gym
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from adafocus_rl.envs.frames import Frames, frames_of
from adafocus_rl.envs.patch_selection import PatchSelectionVectorEnv
from adafocus_rl.envs.problem import DecisionProblem
from adafocus_rl.envs.rewards import RewardContext
from adafocus_rl.envs.rollout import Policy, Rollout, StepPolicy
from adafocus_rl.envs.skippable import KEEP, SkippableEpisodes, SkippableFeatures
from adafocus_rl.envs.vector_env import DecisionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.features.source import EpisodeFeatures, FeatureSource
from adafocus_rl.models.classifiers import Classifier


class FrameSkipping(DecisionProblem):
    """Whether f_L looks at π's patch in each frame.

    Args:
        source: features with π's patches.
        classifier: frozen f_C.
        lambda_: λ, what a run of f_L costs, in probability of the true class.

    Raises:
        UserError: λ is no finite number.
    """

    skips_frames = True
    source: SkippableFeatures

    def __init__(self, source: SkippableFeatures, classifier: Classifier, *, lambda_: float) -> None:
        if not math.isfinite(lambda_):
            raise UserError(f"lambda_, the cost of a look at a frame, is {lambda_}; give a finite number, 0.01 say")
        super().__init__(source, classifier, spaces=source.patches.spaces, action_space=gym.spaces.Discrete(2))
        self.lambda_ = lambda_

    def prepare(self, episodes: EpisodeFeatures) -> SkippableEpisodes:
        """Return the episodes with π's patches; π is asked if they have none."""
        return episodes if isinstance(episodes, SkippableEpisodes) else self.source.choose(episodes)

    def local(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        """Return f_L's features (B, M[, K], D_L) of π's patches in kept frames, and zeros for skipped ones."""
        return episodes.local_at(when, action)

    def boxes(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        """Return the boxes (B, M, 4) of π's patches, those of skipped frames included."""
        return self.spaces.boxes(self.prepare(episodes).patches_at(when))

    def kept(self, action: Tensor) -> Tensor:
        """Return whether the frame is kept: (B, M) bool."""
        return action == KEEP

    def positions(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        """Return the relative positions (B, M, 2) of π's patches, as π itself observes them."""
        return self.spaces.position(self.prepare(episodes).patches_at(when))

    def past(self, episodes: EpisodeFeatures) -> Tensor:
        """Return the position (B, T, 2) of π's patch before each frame."""
        before = super().past(episodes)
        if self.spaces.config.last_action:
            before[:, 1:] = self.spaces.position(self.prepare(episodes).patches[:, :-1])
        return before

    def probabilities(self, rollout: Rollout) -> Tensor | None:
        """Return π's probabilities (B, T, A), for which π is asked again; None if π gives none."""
        return self.source.ask(self.prepare(rollout.episodes).episodes).probabilities

    def reward(self, context: RewardContext) -> Tensor:
        """Return p(with f_L) − p(without) − λ where the frame is kept, and 0 where it is skipped; (N,)."""
        return skipping_reward(context, self.lambda_)


def skipping_reward(context: RewardContext, lambda_: float) -> Tensor:
    """p(with f_L) − p(without) − λ where the frame is kept, 0 where it is skipped; (N,)."""
    zero = context.global_vector.new_zeros(len(context.labels), 1, context.local_dim)
    gain = context.chosen - context.with_local(zero).squeeze(-1) - lambda_
    return torch.where(context.action == KEEP, gain, 0.0)


class FrameSkippingVectorEnv(DecisionVectorEnv):
    """B videos side by side; in each frame of each video π′ decides whether f_L looks at π's patch.

    Observation: what π observes of the current frame: map or vector, motion, time step and the position of π's own last
    patch, as π's environment has them. Action: 0 (skip) or 1 (keep), (B,) int64. Reward of a kept frame: p(true class |
    with the patch) − p(true class | without) − λ, both from the same history; of a skipped one: 0. Everything else is
    as in :class:`~adafocus_rl.envs.vector_env.DecisionVectorEnv`.

    A source that computes features when asked runs f_L on the kept patches alone; to learn how many they are, it waits
    for the device.

    Args:
        patches: π's environment, for its features, f_C, and what π observes and how it acts; and what the arguments
            below leave open.
        policy: frozen π, who chooses the patches.
        lambda_: λ, what a run of f_L costs, in probability of the true class. Below 0 looking is rewarded.
        num_envs: B, at least 1.
        shuffle: a new order of videos in every pass; otherwise index order.
        seed: of the order.
        autoreset_mode: SAME_STEP, NEXT_STEP or DISABLED.
        render_mode: as in patch selection, and so are the others.
        frames: what to draw on.
        max_episode_steps: T.

    Raises:
        UserError: λ is no finite number, or as :class:`~adafocus_rl.envs.vector_env.DecisionVectorEnv`.
    """

    problem: FrameSkipping

    def __init__(
        self,
        patches: PatchSelectionVectorEnv,
        policy: Policy | StepPolicy,
        *,
        lambda_: float,
        num_envs: int | None = None,
        shuffle: bool | None = None,
        seed: int | None = None,
        autoreset_mode: AutoresetMode | None = None,
        render_mode: Literal["rgb_array"] | None = None,
        frames: Frames | None = None,
        max_episode_steps: int | None = None,
    ) -> None:
        source = SkippableFeatures(patches.problem, policy, batch_size=patches.num_envs)
        super().__init__(
            FrameSkipping(source, patches.classifier, lambda_=lambda_),
            num_envs=patches.num_envs if num_envs is None else num_envs,
            shuffle=patches.shuffle if shuffle is None else shuffle,
            seed=patches.seed if seed is None else seed,
            autoreset_mode=patches.autoreset_mode if autoreset_mode is None else autoreset_mode,
            render_mode=render_mode,
            frames=frames_of(patches.source) if frames is None else frames,
            max_episode_steps=max_episode_steps,
        )
        self.patches = patches
        self.policy = policy

    @property
    def lambda_(self) -> float:
        """λ."""
        return self.problem.lambda_

    def like(
        self, source: FeatureSource, classifier: Classifier | None = None, *, num_envs: int | None = None
    ) -> FrameSkippingVectorEnv:
        """The same decision problem (π, λ, seed) on other features, with another f_C, for another B."""
        source = source.patches.source if isinstance(source, SkippableFeatures) else source
        return FrameSkippingVectorEnv(
            self.patches.like(source, classifier or self.classifier),
            self.policy,
            lambda_=self.lambda_,
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
        running = self._under_way("call reset() first: there are no episodes yet")
        return self.problem.prepare(running.episodes).patches
