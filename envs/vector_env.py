"""Vector environment for any decision problem, step by step or whole episodes at once.

Observations are *exogenous*: the map of frame t+1 does not depend on the action at t. The environment can therefore
compute the same numbers in two ways: ``DecisionVectorEnv.step``, and ``DecisionVectorEnv.rollout``, which computes
whole episodes without a Python loop over time or batch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import gymnasium as gym
from gymnasium.vector import AutoresetMode
from torch import Tensor

from adafocus_rl.envs.counterfactuals import Counterfactuals
from adafocus_rl.envs.frames import Frames
from adafocus_rl.envs.one_step import advance, begin, boxes_seen, observe, outcomes
from adafocus_rl.envs.problem import DecisionProblem
from adafocus_rl.envs.running import Running
from adafocus_rl.envs.sampler import EpisodeSampler
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.envs.stepping import VideoVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.features.source import FeatureSource
from adafocus_rl.models.classifiers import Classifier


class DecisionVectorEnv(EpisodeSampler, VideoVectorEnv[Running]):
    """B parallel videos; one step is one frame, and an episode is the T frames of a clip.

    The problem defines observations, actions and rewards; everything else is the same for all problems. An episode
    terminates after the last frame and is never truncated. All values are torch tensors on the features' device, and no
    step synchronises with it. When a pass over the videos ends, the next one begins, in a new order if ``shuffle``; the
    last batch of a pass is filled with the first videos of the next.

    Infos have the layout of Gymnasium's vector environments: a tensor (B, …) per name, and under ``_name`` a mask (B,)
    of the environments that have it. When an episode ends, ``episode`` holds its return ``r``, its length ``l`` and
    its duration ``t`` in seconds, as in Gymnasium's ``RecordEpisodeStatistics``.

    Args:
        problem: the decision problem.
        num_envs: B, at least 1.
        shuffle: draw a new order of videos in every pass; False for index order.
        seed: seed of the order and of the random actions of the reward's baseline.
        autoreset_mode: SAME_STEP (the step that ends an episode returns the first observation of the next; the info
            holds ``final_obs`` and ``final_info``), NEXT_STEP (the next step resets) or DISABLED (the caller resets).
        render_mode: ``rgb_array``: ``render`` returns B pictures.
        frames: frames to draw on; None for the clips of live features, or pictures of e^G for any other source.
        max_episode_steps: T; no other value is accepted. Gymnasium passes it from a specification.

    Raises:
        UserError: the render mode is unknown, ``max_episode_steps`` is not T, or ``num_envs`` is below 1.
    """

    def __init__(
        self,
        problem: DecisionProblem,
        *,
        num_envs: int = 64,
        shuffle: bool = True,
        seed: int = 0,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: Literal["rgb_array"] | None = None,
        frames: Frames | None = None,
        max_episode_steps: int | None = None,
    ) -> None:
        source = problem.source
        if max_episode_steps not in (None, source.num_steps):
            raise UserError(
                f"max_episode_steps is {max_episode_steps}, and these episodes have {source.num_steps} steps, one for "
                "each frame; leave it out, or give gymnasium.make, which ends episodes early, a smaller one"
            )
        EpisodeSampler.__init__(self, problem, num_envs=num_envs, shuffle=shuffle, seed=seed)
        VideoVectorEnv.__init__(
            self,
            source,
            orders=self._orders,
            observation_space=problem.observation_space,
            action_space=problem.action_space,
            num_envs=num_envs,
            shuffle=shuffle,
            seed=seed,
            autoreset_mode=autoreset_mode,
            render_mode=render_mode,
            frames=frames,
        )

    @abstractmethod
    def like(
        self, source: FeatureSource, classifier: Classifier | None = None, *, num_envs: int | None = None
    ) -> DecisionVectorEnv:
        """Return the same decision problem with other features, another f_C or another B."""

    def _like(self, num_envs: int | None) -> dict[str, Any]:
        """Return the arguments that ``like`` keeps in every problem; None keeps B."""
        return {
            "num_envs": num_envs or self.num_envs,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "autoreset_mode": self.autoreset_mode,
        }

    # ---- step by step -------------------------------------------------------------------------------------------

    def check_actions(self, actions: Any, shape: tuple[int, ...]) -> Tensor:
        """Return actions as a tensor: (B,) int64, or (B, 2) float32 if actions are continuous."""
        return self.problem.check_actions(actions, shape)

    def _new(self, videos: Tensor, visits: Tensor, places: Sequence[int]) -> Running:
        return begin(self.problem, videos, visits, self._baseline_seed(places))

    def _advance(self, running: Running, actions: Tensor) -> tuple[Tensor, Tensor]:
        return advance(self.problem, running, actions)

    def _observe(self, running: Running) -> Observation:
        # No frame follows the last one, so the last step returns the last frame's observation again.
        return observe(self.problem, running)

    def step_counterfactuals(self) -> Counterfactuals:
        """Return the outcomes of all A actions in the current frames: (B, A), and f_C's next states (B, A, H).

        Each is what the next ``step`` with this action would lead to. No environment is stepped.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset, or if an episode is over.
            UserError: the actions are continuous.
        """
        running = self._under_way("call reset() before step_counterfactuals()")
        if running.over.any():
            raise gym.error.ResetNeeded("an episode is over and has no next step; call reset() or step()")
        found = outcomes(self.problem, running)
        assert found.states is not None
        return Counterfactuals(
            probability=found.probability[:, 0], reward=found.reward[:, 0], states=found.states[:, 0]
        )

    def last_boxes(self) -> Tensor | None:
        """Return the boxes (B, 4) in pixels of f_L's inputs in the last step, empty if skipped; None before any."""
        if self._running is None or self._last_step is None:
            return None
        return boxes_seen(self.problem, self._running, self._last_step[0])
