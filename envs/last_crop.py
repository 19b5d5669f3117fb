"""Patch by patch: patch selection in which a policy observes what was last processed, and not the coming frame."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from adafocus_rl.envs.frames import Frames
from adafocus_rl.envs.options import ActionKind, RewardConfig, SpaceConfig
from adafocus_rl.envs.patch_selection import PatchSelection
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.envs.vector_env import DecisionVectorEnv
from adafocus_rl.features.source import EpisodeFeatures, FeatureSource
from adafocus_rl.models.classifiers import Classifier


class LastCropSelection(PatchSelection):
    """The decision which patch of each frame f_L is run on, from f_L's features of the patch before (GFNet).

    Args:
        source: frozen features.
        classifier: frozen f_C.
        reward: the reward; None for p_t − p_{t−1}.
        action_space: ``grid`` or ``continuous``; see ``SpaceConfig``.

    Raises:
        UserError: see ``PatchSelection``.
    """

    feedback: ClassVar[str] = "observations of the last crop"

    def __init__(
        self,
        source: FeatureSource,
        classifier: Classifier,
        *,
        reward: RewardConfig | None = None,
        action_space: ActionKind = "grid",
    ) -> None:
        super().__init__(
            source,
            classifier,
            reward=reward or RewardConfig(kind="increment"),
            spaces=SpaceConfig(action_space=action_space, observation="vector"),
        )

    @property
    def exogenous(self) -> bool:
        """False, because observations depend on the patches."""
        return False

    @property
    def observation_space(self) -> gym.Space[Any]:
        """Vectors (D_G + D_L + A,)."""
        size = self.source.vector_dim + self.source.local_dim + self.spaces.grid.num_actions
        return gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def observe(self, features: Tensor, last: Tensor, time_step: Tensor, seen: Tensor) -> Observation:
        """Return f_G's vectors of first frames, zeros in later ones, f_L's of the last patches, and where these were.

        The place is the nearest grid action, one-hot (…, A), and zeros before the first patch. A policy whose actions
        are sampled cannot know it otherwise, and so could not stay where it saw something.
        """
        grid, first = self.spaces.grid, time_step[..., None] == 0
        place = torch.nn.functional.one_hot(self.spaces.nearest_action(last), grid.num_actions).to(seen.dtype)
        return torch.cat((torch.where(first, features, 0.0), seen, torch.where(first, 0.0, place)), dim=-1)

    def initial_seen(self, count: int) -> Tensor:
        """Return zeros (B, D_L): there is no patch before the first."""
        return torch.zeros(count, self.source.local_dim, device=self.source.device)

    def see(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor, before: Tensor) -> Tensor:
        """Return f_L's vectors (B, D_L) of the patches."""
        return self.local(episodes, when, action)[:, 0]


class LastCropVectorEnv(DecisionVectorEnv):
    """B parallel videos; in each frame of each video, one patch is selected from what was processed last.

    Observation: (B, D_G + D_L + A) float32. In the first step, f_G's pooled vector of the first frame and zeros; in
    later ones, zeros, f_L's vector of the last patch, and its nearest grid position, one-hot. Action: as in
    ``PatchSelectionVectorEnv``. Reward: p_t − p_{t−1} by default, (B,) float32. Everything else is as in
    ``DecisionVectorEnv``.

    With live features, f_L runs twice on each patch, for the observation and for f_C.

    Args:
        source: frozen features.
        classifier: frozen f_C, moved to the features' device and put in eval mode.
        num_envs: B, at least 1.
        reward: the reward; None for p_t − p_{t−1}.
        action_space: ``grid`` or ``continuous``.
        shuffle: draw a new order of videos in every pass; False for index order.
        seed: seed of the order and of the random patches of the reward's baseline.
        autoreset_mode: SAME_STEP, NEXT_STEP or DISABLED.
        render_mode: ``rgb_array``: ``render`` returns B pictures.
        frames: frames to draw on; see ``PatchSelectionVectorEnv``.
        max_episode_steps: T; no other value is accepted. Gymnasium passes it from a specification.

    Raises:
        UserError: see ``PatchSelection`` and ``DecisionVectorEnv``.
    """

    problem: LastCropSelection

    def __init__(
        self,
        source: FeatureSource,
        classifier: Classifier,
        *,
        num_envs: int = 64,
        reward: RewardConfig | None = None,
        action_space: ActionKind = "grid",
        shuffle: bool = True,
        seed: int = 0,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: Literal["rgb_array"] | None = None,
        frames: Frames | None = None,
        max_episode_steps: int | None = None,
    ) -> None:
        super().__init__(
            LastCropSelection(source, classifier, reward=reward, action_space=action_space),
            num_envs=num_envs,
            shuffle=shuffle,
            seed=seed,
            autoreset_mode=autoreset_mode,
            render_mode=render_mode,
            frames=frames,
            max_episode_steps=max_episode_steps,
        )

    def like(
        self, source: FeatureSource, classifier: Classifier | None = None, *, num_envs: int | None = None
    ) -> LastCropVectorEnv:
        """Return the same decision problem with other features, another f_C or another B."""
        return LastCropVectorEnv(
            source,
            classifier or self.classifier,
            reward=self.problem.reward_config,
            action_space=self.space_config.action_space,
            **self._like(num_envs),
        )
