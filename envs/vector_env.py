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
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from adafocus_rl.envs.counterfactuals import Counterfactuals
from adafocus_rl.envs.drawing import StepPictures
from adafocus_rl.envs.frames import Frames, frames_of
from adafocus_rl.envs.one_for_all import OneForAll
from adafocus_rl.envs.one_step import advance, begin, boxes_seen, observe, outcomes
from adafocus_rl.envs.problem import DecisionProblem
from adafocus_rl.envs.render import Picture
from adafocus_rl.envs.reset import Reset
from adafocus_rl.envs.running import Running, host_mask
from adafocus_rl.envs.sampler import EpisodeSampler
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.envs.specification import Specified
from adafocus_rl.errors import UserError
from adafocus_rl.features.source import FeatureSource
from adafocus_rl.models.classifiers import Classifier


class DecisionVectorEnv(OneForAll, EpisodeSampler, Specified, gym.vector.VectorEnv[Observation, Tensor, Tensor]):
    """B parallel videos; one step is one frame, and an episode is the T frames of a clip.

    The problem defines observations, actions and rewards; everything else is the same for all problems and is
    implemented here. An episode terminates after the last frame and is never truncated. All values are torch tensors
    on the features' device, and no step synchronises with it. When a pass over the videos ends, the next one begins,
    in a new order if ``shuffle``; the last batch of a pass is filled with the first videos of the next.

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
        if render_mode not in (None, "rgb_array"):
            raise UserError(
                f"render_mode is {render_mode!r}; a vector environment takes 'rgb_array' or None, one made by "
                "gymnasium.make 'human', too"
            )
        if max_episode_steps not in (None, source.num_steps):
            raise UserError(
                f"max_episode_steps is {max_episode_steps}, and these episodes have {source.num_steps} steps, one for "
                "each frame; leave it out, or give gymnasium.make, which ends episodes early, a smaller one"
            )
        if num_envs < 1:
            raise UserError(f"num_envs is {num_envs}; give at least 1 video at a time")
        super().__init__(problem, num_envs=num_envs, shuffle=shuffle, seed=seed)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": ["rgb_array"], "render_fps": 4}
        self.render_mode = render_mode
        self.frames = frames_of(source) if frames is None else frames
        self.single_observation_space = problem.observation_space
        self.single_action_space = problem.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._running: Running | None = None
        self._pictures = StepPictures(self.frames)
        self._last_step: tuple[Tensor, Tensor] | None = None

    @abstractmethod
    def like(
        self, source: FeatureSource, classifier: Classifier | None = None, *, num_envs: int | None = None
    ) -> DecisionVectorEnv:
        """Return the same decision problem with other features, another f_C or another B."""

    # ---- step by step -------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start new episodes.

        Args:
            seed: an int restarts the order of videos, which all environments share, and the baseline's random numbers.
                A list has an entry for each environment, which then has its own order and baseline, the same as it
                would have alone with this seed; an environment whose entry is None continues its order.
            options: ``{"reset_mask": (B,) bool}`` starts new episodes in these environments only; the others
                continue. ``{"videos": rows (B,)}`` selects these index rows instead of the next ones in order (they
                count as never seen before; rows of environments that are not reset are ignored).

        Returns:
            Current observations (B, …), and an info with the names of ``Info`` for the environments that were reset.

        Raises:
            UserError: the number of seeds, videos or mask entries is not B, or the mask selects no environment.
            gymnasium.error.ResetNeeded: the mask leaves out environments before the first reset of all.
        """
        wanted = Reset.read(seed, options or {}, self.num_envs)
        if self._running is None and len(wanted.rows) < self.num_envs:
            raise gym.error.ResetNeeded("call reset() for all environments before resetting some of them")
        if isinstance(wanted.seed, int):
            super().reset(seed=wanted.seed)
            self.seed = wanted.seed
            self._orders.restart(wanted.rows.tolist(), wanted.seed)
        elif wanted.seed is not None:
            self._orders.restart_each(wanted.rows.tolist(), wanted.seed)
        running = self._begin(wanted.rows, wanted.videos)
        return observe(self.problem, running), self._vector_info(running.info, wanted.mask)

    def step(self, actions: Tensor) -> tuple[Observation, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Take one action in each video: (B,) int64, or (B, 2) float32 if actions are continuous.

        Returns:
            observation (B, …), reward (B,), terminated (B,), truncated (B,), info. ``logits`` (B, K) in the info are
            f_C's output after the step (with SAME_STEP, those of the last step are in ``final_info``). No frame
            follows the last one, so the last step returns the last frame's observation again.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset, or after an episode's end with DISABLED.
            UserError: the actions have another shape or type, or are out of range (checked only where this needs no
                device synchronisation).
        """
        running = self._under_way("call reset() before the first step()")
        over = running.over
        if over.any() and self.autoreset_mode != AutoresetMode.NEXT_STEP:
            which = "" if over.all() else f" of environments {', '.join(map(str, np.flatnonzero(over)))}"
            raise gym.error.ResetNeeded(f"the episodes{which} are over; call reset() to start the next")
        device = self.problem.source.device
        if over.all():
            # This call's actions belong to no episode.
            running = self._begin(np.arange(self.num_envs))
            zero = torch.zeros(self.num_envs, device=device)
            return observe(self.problem, running), zero, zero.bool(), zero.bool(), self._vector_info(running.info)
        actions = self.problem.check_actions(actions, (self.num_envs,))
        reward, logits = advance(self.problem, running, actions)
        self._last_step = actions, logits
        stepped, ended = ~over, running.over & ~over
        if over.any():  # the actions of these environments belong to no episode
            reward = reward.masked_fill(host_mask(over, device), 0)
            running = self._begin(np.flatnonzero(over))
        terminated = host_mask(ended, device)
        info = self._vector_info(running.info)
        if ended.any():
            statistics = {name: value.masked_fill(~terminated, 0) for name, value in running.statistics().items()}
            # Each statistic has its own mask, too: Gymnasium's wrappers up to version 1.1 read it.
            info |= self._vector_info({"episode": self._vector_info(statistics, ended)}, ended)
            if self.autoreset_mode == AutoresetMode.SAME_STEP:
                final = self._vector_info({**running.info, "logits": logits}, ended)
                last = observe(self.problem, running)
                info |= self._vector_info({"final_obs": last, "final_info": final}, ended)
                running = self._begin(np.flatnonzero(ended))
                info |= self._vector_info(running.info)
                stepped &= ~ended
        if stepped.any():
            info |= self._vector_info({"logits": logits}, stepped)
        return observe(self.problem, running), reward, terminated, torch.zeros_like(terminated), info

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

    def render(self) -> tuple[Picture, ...] | None:
        """Return one picture (H, W, 3) per environment, the same as ``DecisionEnv``'s; None without a render mode.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset.
            UserError: a video is missing or cannot be decoded.
        """
        if self.render_mode is None:
            gym.logger.warn("render() draws nothing without a render_mode; give render_mode='rgb_array'")
            return None
        running = self._under_way("call reset() before render()")
        logits = None if self._last_step is None else self._last_step[1]
        return self._pictures.draw_all(running, self.last_boxes(), logits)

    def last_boxes(self) -> Tensor | None:
        """Return the boxes (B, 4) in pixels of f_L's inputs in the last step, empty if skipped; None before any."""
        if self._running is None or self._last_step is None:
            return None
        return boxes_seen(self.problem, self._running, self._last_step[0])

    def _under_way(self, otherwise: str) -> Running:
        if self._running is None:
            raise gym.error.ResetNeeded(otherwise)
        return self._running

    def _begin(self, rows: NDArray[np.int64], videos: Tensor | None = None) -> Running:
        """Begin new episodes in some environments, with the next videos in order or those of given index rows (R,)."""
        places = rows.tolist()
        if videos is None:
            videos, visits = self._orders.take(places)
        else:
            visits = torch.zeros_like(videos)
        new = begin(self.problem, videos, visits, self._baseline_seed(places))
        if len(rows) == self.num_envs:
            self._running = new
        else:
            assert self._running is not None
            self._running.replace(rows, new)
        return self._running

    def _vector_info(self, values: dict[str, Any], mask: NDArray[np.bool_] | None = None) -> dict[str, Any]:
        """Return an info whose values belong to the environments of a mask (B,), or to all without a mask."""
        device = self.problem.source.device
        has = host_mask(np.ones(self.num_envs, dtype=np.bool_) if mask is None else mask, device)
        return {**values, **{f"_{name}": has for name in values}}
