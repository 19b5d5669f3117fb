"""Patch selection as a decision problem: one patch per frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from gymnasium.vector import AutoresetMode
from torch import Tensor

from adafocus_rl.envs.counterfactuals import counterfactuals
from adafocus_rl.envs.frames import Frames
from adafocus_rl.envs.options import ActionKind, ObservationKind, RewardConfig, SpaceConfig
from adafocus_rl.envs.problem import DecisionProblem
from adafocus_rl.envs.projection import BankProducts
from adafocus_rl.envs.registry import REWARDS
from adafocus_rl.envs.rewards import RewardContext, baseline_actions, random_baseline
from adafocus_rl.envs.rollout import Rollout
from adafocus_rl.envs.spaces import Spaces
from adafocus_rl.envs.vector_env import DecisionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.features.bank import FeatureBank
from adafocus_rl.features.source import EpisodeFeatures, FeatureSource
from adafocus_rl.models.classifiers import Classifier


class PatchSelection(DecisionProblem):
    """The decision which patch of each frame f_L is run on.

    Args:
        source: frozen features.
        classifier: frozen f_C.
        reward: the reward; None for the paper's.
        spaces: observations and actions.

    Raises:
        UserError: the reward is unknown (with a suggestion), no video is usable, a number is out of range, or actions
            are continuous and the features hold grid positions only or patches have several scales.
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
        self._products: BankProducts | None = None
        if isinstance(source, FeatureBank):
            self._products = BankProducts(source, self.classifier, dtype=self.dtype)

    @property
    def exogenous(self) -> bool:
        """Whether observations do not contain the last action."""
        return not self.spaces.config.last_action

    def local(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        """Return f_L's features (B, M[, K], D_L) of the patches."""
        return self.spaces.local(episodes, when, action)

    def boxes(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        """Return the patches' boxes (B, M, 4)."""
        return self.spaces.boxes(action)

    def positions(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        """Return the patches' relative positions (B, M, 2 or 3), as observed."""
        return self.spaces.position(action)

    def probabilities(self, rollout: Rollout) -> Tensor | None:
        """Return the policy's own probabilities."""
        return rollout.output.probabilities

    def baseline(self, episodes: EpisodeFeatures, visits: Tensor, seed: int | Sequence[int]) -> Tensor:
        """Return the random patches (B, T, K[, 2]) of the ``random`` reward's baseline."""
        return baseline_actions(
            self.spaces,
            self.reward_config.baseline_positions,
            seed=seed,
            videos=episodes.videos,
            visits=visits,
            num_steps=episodes.num_steps,
        )

    @property
    def compares_with_every(self) -> bool:
        """Whether the baseline averages over the whole grid."""
        return self.reward_config.baseline_positions == 0

    def projected_vector(self, episodes: EpisodeFeatures, when: Tensor, vector: Tensor) -> Tensor:
        """Return f_C's input products (B, M, P) with the global vectors, computed once for a bank."""
        known = self._products.vectors(episodes, when) if self._products is not None else None
        return super().projected_vector(episodes, when, vector) if known is None else known

    def projected_local(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        """Return f_C's input products (B, M[, K], P) with patches; read, if all patches of a bank were multiplied."""
        known = self._products.patches(episodes, when, action) if self._products is not None else None
        return super().projected_local(episodes, when, action) if known is None else known

    def projected_every(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        """Return f_C's input products (B, M, A, P) with all patches, computed once for a bank that fits."""
        known = self._products.every_patch(episodes, when) if self._products is not None else None
        return super().projected_every(episodes, when, action) if known is None else known

    def rewards(
        self,
        episodes: EpisodeFeatures,
        when: Tensor,
        vector: Tensor,
        history: Tensor,
        states: Tensor,
        baseline: Tensor,
        action: Tensor,
    ) -> Tensor:
        """Return the rewards (B, M) float32 of the frames ``when`` (B, M); arguments as in ``context``."""
        if self._reward is random_baseline and self.compares_with_every and not self.spaces.continuous:
            every = counterfactuals(self, episodes, when, vector, history, baseline)
            return every.reward.gather(-1, action[..., None]).squeeze(-1)
        return super().rewards(episodes, when, vector, history, states, baseline, action)

    def reward(self, context: RewardContext) -> Tensor:
        """Return the configured reward, (N,)."""
        return self._reward(context)


class PatchSelectionVectorEnv(DecisionVectorEnv):
    """B parallel videos; in each frame of each video, one patch is selected.

    Observation: e^G of the current frame, (B, C, h, w) or pooled (B, D_G) float32; with ``last_action`` or
    ``time_step`` a dict of ``features``, ``last_action`` (B, 2) and ``time_step`` (B, 1); see ``Spaces``. Action:
    grid position and scale, (B,) int64 in [0, A), or relative position, (B, 2) float32 in [0, 1]². Reward: see
    ``adafocus_rl.envs.rewards``, (B,) float32. Everything else is as in ``DecisionVectorEnv``.

    Args:
        source: frozen features.
        classifier: frozen f_C, moved to the features' device and put in eval mode.
        num_envs: B, at least 1.
        reward: the reward.
        action_space: ``grid`` or ``continuous``; see ``SpaceConfig`` for this and the next four arguments.
        observation: ``map`` or ``vector``.
        last_action: also observe the last action.
        time_step: also observe the time step.
        motion: add a channel to the map: the difference to the previous frame.
        shuffle: draw a new order of videos in every pass; False for index order.
        seed: seed of the order and of the baseline's random patches.
        autoreset_mode: SAME_STEP, NEXT_STEP or DISABLED.
        render_mode: ``rgb_array``: ``render`` returns B pictures.
        frames: frames to draw on; None for the clips of live features, or pictures of e^G for any other source.
        max_episode_steps: T; no other value is accepted. Gymnasium passes it from a specification.

    Raises:
        UserError: see ``PatchSelection`` and ``DecisionVectorEnv``.
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
        """The configuration of the reward."""
        return self.problem.reward_config

    def like(
        self, source: FeatureSource, classifier: Classifier | None = None, *, num_envs: int | None = None
    ) -> PatchSelectionVectorEnv:
        """Return the same decision problem (reward, spaces, seed) with other features, another f_C or another B."""
        return PatchSelectionVectorEnv(
            source,
            classifier or self.classifier,
            reward=self.reward_config,
            **self._like(num_envs),
            **self.space_config.options(),
        )
