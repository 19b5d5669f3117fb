"""Patch selection as a decision problem: one small patch per frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from gymnasium.vector import AutoresetMode
from torch import Tensor

from adafocus_rl.envs.frames import Frames
from adafocus_rl.envs.problem import DecisionProblem
from adafocus_rl.envs.rewards import REWARDS, RewardConfig, RewardContext, baseline_actions
from adafocus_rl.envs.rollout import Rollout
from adafocus_rl.envs.spaces import ActionKind, ObservationKind, SpaceConfig, Spaces
from adafocus_rl.envs.vector_env import DecisionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.features.source import EpisodeFeatures, FeatureSource
from adafocus_rl.models.classifiers import Classifier


class PatchSelection(DecisionProblem):
    """Where f_L looks in each frame.

    Args:
        source: frozen features.
        classifier: frozen f_C.
        reward: which reward is paid; None takes the paper's.
        spaces: what is observed and how a patch is named.

    Raises:
        UserError: unknown reward (with a suggestion), no usable video, a number out of range, or continuous actions on
            features that hold grid positions only.
    """

    def __init__(
        self, source: FeatureSource, classifier: Classifier, *, reward: RewardConfig | None, spaces: SpaceConfig
    ) -> None:
        if len(source.videos) == 0:
            raise UserError(
                "there is no usable video to build episodes from; `adafocus train` lists the ones it skipped"
            )
        self.reward_config = reward or RewardConfig()
        self._reward = REWARDS.get(self.reward_config.kind)
        both = Spaces(spaces, source)
        super().__init__(source, classifier, spaces=both, action_space=both.patch)

    @property
    def exogenous(self) -> bool:
        """Whether observations do not hold the last action."""
        return not self.spaces.config.last_action

    def local(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        """Return f_L's features (B, M[, K], D_L) of the patches."""
        return self.spaces.local(episodes, when, action)

    def boxes(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        """Return the patches' boxes (B, M, 4)."""
        return self.spaces.boxes(action)

    def positions(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        """Return the patches' relative positions (B, M, 2)."""
        return self.spaces.position(action)

    def probabilities(self, rollout: Rollout) -> Tensor | None:
        """Return the policy's own."""
        return rollout.output.probabilities

    def baseline(self, episodes: EpisodeFeatures, visits: Tensor, seed: int | Sequence[int]) -> Tensor:
        """Return the random patches (B, T, K[, 2]) that the ``random`` reward compares with."""
        return baseline_actions(
            self.spaces,
            self.reward_config.baseline_positions,
            seed=seed,
            videos=episodes.videos,
            visits=visits,
            num_steps=episodes.num_steps,
        )

    def reward(self, context: RewardContext) -> Tensor:
        """Return what the configured reward pays, (N,)."""
        return self._reward(context)


class PatchSelectionVectorEnv(DecisionVectorEnv):
    """B videos side by side; in each frame of each video one patch is chosen.

    Observation: e^G of the current frame, (B, C, h, w) or pooled (B, D_G) float32; with ``last_action`` or
    ``time_step`` a dict of ``features``, ``last_action`` (B, 2) and ``time_step`` (B, 1)
    (:class:`~adafocus_rl.envs.spaces.Spaces`). Action: grid position, (B,) int64 in [0, A), or relative position,
    (B, 2) float32 in [0, 1]². Reward: see :mod:`adafocus_rl.envs.rewards`, (B,) float32. Everything else is as in
    :class:`~adafocus_rl.envs.vector_env.DecisionVectorEnv`.

    Args:
        source: frozen features.
        classifier: frozen f_C, moved to the features' device and put in eval mode.
        num_envs: B, at least 1.
        reward: which reward is paid.
        action_space: ``grid`` or ``continuous``; see :class:`~adafocus_rl.envs.spaces.SpaceConfig`, also for the next.
        observation: ``map`` or ``vector``.
        last_action: whether the last action is observed, too.
        time_step: whether the time step is observed, too.
        motion: whether the map has a channel more: the difference to the frame before.
        shuffle: a new order of videos in every pass; otherwise index order.
        seed: of the order and of the baseline's random patches.
        autoreset_mode: SAME_STEP, NEXT_STEP or DISABLED.
        render_mode: ``rgb_array``: :meth:`render` returns B pictures.
        frames: what to draw on; None takes the clips of live features, and of any other source pictures of e^G.
        max_episode_steps: T, which it cannot change; Gymnasium hands it over with a specification.

    Raises:
        UserError: as :class:`PatchSelection` and :class:`~adafocus_rl.envs.vector_env.DecisionVectorEnv`.
    """

    problem: PatchSelection

    def __init__(
        self,
        source: FeatureSource,
        classifier: Classifier,
        *,
        num_envs: int = 64,
        reward: RewardConfig | None = None,
        action_space: ActionKind = "grid",
        observation: ObservationKind = "map",
        last_action: bool = False,
        time_step: bool = False,
        motion: bool = False,
        shuffle: bool = True,
        seed: int = 0,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: Literal["rgb_array"] | None = None,
        frames: Frames | None = None,
        max_episode_steps: int | None = None,
    ) -> None:
        spaces = SpaceConfig(
            action_space=action_space,
            observation=observation,
            last_action=last_action,
            time_step=time_step,
            motion=motion,
        )
        super().__init__(
            PatchSelection(source, classifier, reward=reward, spaces=spaces),
            num_envs=num_envs,
            shuffle=shuffle,
            seed=seed,
            autoreset_mode=autoreset_mode,
            render_mode=render_mode,
            frames=frames,
            max_episode_steps=max_episode_steps,
        )

    @property
    def reward_config(self) -> RewardConfig:
        """Which reward is paid."""
        return self.problem.reward_config

    def like(
        self, source: FeatureSource, classifier: Classifier | None = None, *, num_envs: int | None = None
    ) -> PatchSelectionVectorEnv:
        """The same decision problem (reward, spaces, seed) on other features, with another f_C, for another B."""
        return PatchSelectionVectorEnv(
            source,
            classifier or self.classifier,
            num_envs=num_envs or self.num_envs,
            reward=self.reward_config,
            shuffle=self.shuffle,
            seed=self.seed,
            autoreset_mode=self.autoreset_mode,
            **self.space_config.options(),
        )
