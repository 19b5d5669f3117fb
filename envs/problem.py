"""Base class of decision problems: observations, actions, the input of f_L and f_C, and rewards.

A problem describes transitions on frozen features and holds no episodes. The same methods serve one step of B
environments (``adafocus_rl.envs.one_step``) and all steps of whole episodes
(``adafocus_rl.envs.whole_episodes``), and ``DecisionVectorEnv`` runs any problem.
To add one, subclass ``DecisionProblem`` and implement ``local``, ``boxes`` and ``reward``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import torch
from torch import Tensor

from adafocus_rl.envs.actions import check_actions
from adafocus_rl.envs.order import episodes_of
from adafocus_rl.envs.rewards import RewardContext
from adafocus_rl.envs.rollout import Info, Rollout
from adafocus_rl.envs.spaces import Observation, Spaces
from adafocus_rl.features.motion import patch_means
from adafocus_rl.features.source import EpisodeFeatures, FeatureSource
from adafocus_rl.models.classifiers import Classifier


class DecisionProblem(ABC):
    """A decision in every frame of a video, on frozen features.

    In all methods, ``when`` (B, M) int64 are frames of B episodes, and ``action`` (B, M, …) are the actions in these
    frames.

    Args:
        source: frozen features.
        classifier: frozen f_C; it is moved to the features' device and put in eval mode.
        spaces: observations, and the geometry of patches.
        action_space: space of one action.

    Attributes:
        dtype: floating-point type of f_C's weights.
    """

    skips_frames: ClassVar[bool] = False
    """Whether an action can skip f_L in a frame."""

    feedback: ClassVar[str] = "env.last_action"
    """The option with which observations depend on previous actions, for messages."""

    def __init__(
        self, source: FeatureSource, classifier: Classifier, *, spaces: Spaces, action_space: gym.Space[Any]
    ) -> None:
        self.source = source
        self.classifier = classifier.to(source.device).eval()
        self.dtype = weights_dtype(classifier)
        self.spaces = spaces
        self.action_space = action_space

    # ---- what each problem defines ------------------------------------------------------------------------------

    @abstractmethod
    def local(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        """Return f_C's local input (B, M[, K], D_L) after actions (B, M[, K], …)."""

    @abstractmethod
    def boxes(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        """Return the boxes (B, M, 4) int64, in pixels, of the patches, including those of skipped frames."""

    @abstractmethod
    def reward(self, context: RewardContext) -> Tensor:
        """Return the rewards (N,) of N transitions."""

    # ---- what most problems have in common ----------------------------------------------------------------------

    @property
    def exogenous(self) -> bool:
        """Whether observations do not depend on the actions of this problem."""
        return True

    @property
    def observation_space(self) -> gym.Space[Any]:
        """Space of one environment's observation."""
        return self.spaces.observation

    def observe(self, features: Tensor, last: Tensor, time_step: Tensor, seen: Tensor) -> Observation:
        """Return the observations of frames.

        Args:
            features: (…, C, h, w) or (…, D_G).
            last: (…, 2) ``positions`` of the previous patches; (…, 3) with several scales.
            time_step: (…,) float32, t / T.
            seen: (…, S), what ``see`` returned for the previous frame, or ``initial_seen``.
        """
        return self.spaces.observe(features, last, time_step)

    def initial_seen(self, count: int) -> Tensor:
        """Return what is known of previous frames before the first, (B, S); S is 0 if observations hold none of it."""
        return torch.empty(count, 0, device=self.source.device)

    def see(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor, before: Tensor) -> Tensor:
        """Return what is known of a frame and those before it, for the observation of the next frame.

        Args:
            episodes: features of B videos.
            when: (B, 1), the frame.
            action: (B, 1, …), the action taken in it.
            before: (B, S), the result for the previous frame.
        """
        return before

    def prepare(self, episodes: EpisodeFeatures) -> EpisodeFeatures:
        """Return episodes of any source with everything that this problem needs; prepared ones are left as they are."""
        return episodes

    def kept(self, action: Tensor) -> Tensor:
        """Return whether f_L is run on each frame: (B, M) bool."""
        return torch.ones(action.shape[:2], dtype=torch.bool, device=action.device)

    def positions(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        """Return the patches' relative positions (B, M, 2), which are observed in the next frame as ``last_action``.

        With several scales (B, M, 3): the third number is the side, as a share of the frame's (``Spaces``).
        """
        return self.spaces.nowhere(*when.shape, device=when.device)

    def past(self, episodes: EpisodeFeatures) -> Tensor:
        """Return ``positions`` (B, T, 2 or 3) of the patch before each frame, if observations are exogenous."""
        return self.spaces.nowhere(len(episodes), episodes.num_steps, device=self.source.device)

    def probabilities(self, rollout: Rollout) -> Tensor | None:
        """Return probabilities (B, T, A) of the grid's actions, or None if there are none."""
        return None

    def baseline(self, episodes: EpisodeFeatures, visits: Tensor, seed: int | Sequence[int]) -> Tensor:
        """Return the actions (B, T, K, …) of the reward's baseline; K is 0 if it needs none.

        Args:
            episodes: features of B videos.
            visits: (B,) int64, number of earlier visits of each video.
            seed: seed of all episodes, or one for each.
        """
        return torch.empty(len(episodes), episodes.num_steps, 0, dtype=torch.long, device=self.source.device)

    @property
    def compares_with_every(self) -> bool:
        """Whether ``baseline`` holds all actions of the space."""
        return False

    def projected_vector(self, episodes: EpisodeFeatures, when: Tensor, vector: Tensor) -> Tensor:
        """Return f_C's input products (B, M, P) with the global vectors (B, M, D_G) of the frames."""
        return self.classifier.project(vector.to(self.dtype))

    def projected_local(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        """Return f_C's input products (B, M[, K], P) with ``local`` of actions (B, M[, K])."""
        return self.classifier.project(self.local(episodes, when, action).to(self.dtype), self.source.vector_dim)

    def projected_every(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        """Return f_C's input products (B, M, A, P) with ``local`` of all A actions, (B, M, A), in order."""
        return self.projected_local(episodes, when, action)

    # ---- the transition -----------------------------------------------------------------------------------------

    def check_actions(self, actions: Any, shape: tuple[int, ...]) -> Tensor:
        """Return actions of any kind as a tensor on the features' device.

        Raises:
            UserError: as for ``adafocus_rl.envs.actions.check_actions``.
        """
        return check_actions(self.action_space, actions, shape, self.source.device)

    def info(self, episodes: EpisodeFeatures, visits: Tensor, *, with_motion: bool = True) -> Info:
        """Return facts that privileged agents (random, oracle) and evaluation may read; learning agents must not.

        Args:
            episodes: features of B videos.
            visits: (B,) int64, number of earlier visits of each video.
            with_motion: include ``motion``, if the features have pictures to compute it from.
        """
        known = {"video": episodes.videos, "label": episodes.labels, "true_box": episodes.true_boxes, "visit": visits}
        # Read once, because live episodes compute it on every access.
        motion = episodes.motion if with_motion else None
        if motion is not None:
            known["motion"] = patch_means(motion, self.source.grid)
        return known

    def episodes(self, videos: Tensor, visits: Tensor) -> EpisodeFeatures:
        """Return features of index rows (R,) on CPU; augmentation depends on each video's visit, (R,) on CPU."""
        return episodes_of(self.source, videos, visits)

    def all_steps(self, episodes: EpisodeFeatures) -> Tensor:
        """Return the numbers (B, T) int64 of all frames of whole episodes."""
        return torch.arange(episodes.num_steps, device=self.source.device).expand(len(episodes), -1)

    def inputs(self, vector: Tensor, local: Tensor) -> Tensor:
        """Return f_C's inputs (…, D_G + D_L) from global vectors (…, D_G) and f_L's features (…, D_L)."""
        return torch.cat((vector, local), dim=-1).to(self.dtype)

    def initial_state(self, count: int) -> Tensor:
        """Return f_C's states (B, H) before the first frame."""
        return self.classifier.initial_state(count, device=self.source.device, dtype=self.dtype)

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
        context = self.context(episodes, when, vector, history, states, baseline, action)
        return self.reward(context).view(when.shape).float()

    def context(
        self,
        episodes: EpisodeFeatures,
        when: Tensor,
        vector: Tensor,
        history: Tensor,
        states: Tensor,
        baseline: Tensor,
        action: Tensor,
    ) -> RewardContext:
        """Return the B · M transitions in the frames ``when`` (B, M), as rewards receive them.

        Args:
            episodes: features of B videos.
            when: the frames.
            vector: their global vectors (B, M, D_G).
            history: f_C's states before them, (B, M, H).
            states: f_C's states after them, (B, M, H).
            baseline: ``baseline`` of these frames, (B, M, K, …).
            action: actions taken, (B, M, …).
        """

        def local(options: Tensor) -> Tensor:
            return self.local(episodes, when, options.unflatten(0, when.shape)).flatten(0, 1)

        def projected(options: Tensor) -> Tensor:
            return self.projected_local(episodes, when, options.unflatten(0, when.shape)).flatten(0, 1)

        return RewardContext(
            classifier=self.classifier,
            labels=episodes.labels[:, None].expand_as(when).flatten(),
            history=history.flatten(0, 1),
            state=states.flatten(0, 1),
            global_vector=vector.flatten(0, 1),
            local=local,
            projected=projected,
            shared=lambda: self.projected_vector(episodes, when, vector).flatten(0, 1),
            local_dim=self.source.local_dim,
            baseline_actions=baseline.flatten(0, 1),
            action=action.flatten(0, 1),
            final=(when == episodes.num_steps - 1).flatten(),
        )


def weights_dtype(classifier: Classifier) -> torch.dtype:
    """Return the floating-point type of f_C's weights; float32 without any."""
    return next((weight.dtype for weight in classifier.parameters()), torch.float32)
