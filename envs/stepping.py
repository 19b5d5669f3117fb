"""Base of vector environments whose episodes are videos: resets, steps, autoreset, infos and pictures.

A subclass defines the transition of B episodes; which episodes begin and end, and what an info holds, is the same for
all and is implemented here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, Literal, TypeVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from adafocus_rl.envs.drawing import StepPictures
from adafocus_rl.envs.frames import Frames, frames_of
from adafocus_rl.envs.one_for_all import OneForAll
from adafocus_rl.envs.order import VideoOrders
from adafocus_rl.envs.render import Picture
from adafocus_rl.envs.reset import Reset
from adafocus_rl.envs.running import Stepped, host_mask
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.envs.specification import Specified
from adafocus_rl.errors import UserError
from adafocus_rl.features.source import FeatureSource

SteppedT = TypeVar("SteppedT", bound=Stepped)


class VideoVectorEnv(OneForAll, Specified, gym.vector.VectorEnv[Observation, Tensor, Tensor], Generic[SteppedT]):
    """B parallel videos, stepped together.

    All values are torch tensors on the features' device. When a pass over the videos ends, the next one begins, in a
    new order if ``shuffle``; the last batch of a pass is filled with the first videos of the next.

    Infos have the layout of Gymnasium's vector environments: a tensor (B, …) per name, and under ``_name`` a mask (B,)
    of the environments that have it. When an episode ends, ``episode`` holds its return ``r``, its length ``l`` and
    its duration ``t`` in seconds, as in Gymnasium's ``RecordEpisodeStatistics``.

    Args:
        source: frozen features.
        orders: the order of videos in each environment.
        observation_space: space of one environment's observation.
        action_space: space of one environment's action.
        num_envs: B, at least 1.
        shuffle: draw a new order of videos in every pass; False for index order.
        seed: seed of the order.
        autoreset_mode: SAME_STEP (the step that ends an episode returns the first observation of the next; the info
            holds ``final_obs`` and ``final_info``), NEXT_STEP (the next step resets) or DISABLED (the caller resets).
        render_mode: ``rgb_array``: ``render`` returns B pictures.
        frames: frames to draw on; None for the clips of live features, or pictures of e^G for any other source.

    Raises:
        UserError: the render mode is unknown, or ``num_envs`` is below 1.
    """

    def __init__(
        self,
        source: FeatureSource,
        *,
        orders: VideoOrders,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        num_envs: int,
        shuffle: bool,
        seed: int,
        autoreset_mode: AutoresetMode,
        render_mode: Literal["rgb_array"] | None,
        frames: Frames | None,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise UserError(
                f"render_mode is {render_mode!r}; a vector environment takes 'rgb_array' or None, one made by "
                "gymnasium.make 'human', too"
            )
        if num_envs < 1:
            raise UserError(f"num_envs is {num_envs}; give at least 1 video at a time")
        self.num_envs = num_envs
        self.shuffle = shuffle
        self.seed = seed
        self._orders = orders
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": ["rgb_array"], "render_fps": 4}
        self.render_mode = render_mode
        self.frames = frames_of(source) if frames is None else frames
        self.single_observation_space = observation_space
        self.single_action_space = action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)
        self._running: SteppedT | None = None
        self._pictures = StepPictures(self.frames, self.longest_episode)
        self._last_step: tuple[Tensor, Tensor] | None = None

    # ---- the transition, which a subclass defines ---------------------------------------------------------------

    @abstractmethod
    def check_actions(self, actions: Any, shape: tuple[int, ...]) -> Tensor:
        """Return actions of any kind as a tensor on the features' device.

        Args:
            actions: a tensor, an array, or numbers.
            shape: (B,) for those of all environments, () for one.

        Raises:
            UserError: the actions have another shape or type, or are out of range (checked only where this needs no
                device synchronisation).
        """

    @abstractmethod
    def last_boxes(self) -> Tensor | None:
        """Return the boxes (B, 4) in pixels of f_L's inputs in the last step, empty if skipped; None before any."""

    @abstractmethod
    def _new(self, videos: Tensor, visits: Tensor, places: Sequence[int]) -> SteppedT:
        """Return new episodes of index rows (R,), seen ``visits`` (R,) times before, in these environments."""

    @abstractmethod
    def _advance(self, running: SteppedT, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Advance each episode by a step; return the rewards (B,) and f_C's logits (B, K)."""

    @abstractmethod
    def _observe(self, running: SteppedT) -> Observation:
        """Return the current observations (B, …)."""

    # ---- episodes -----------------------------------------------------------------------------------------------

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
            Current observations (B, …), and an info about the environments that were reset.

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
        return self._observe(running), self._vector_info(running.info, wanted.mask)

    def step(self, actions: Tensor) -> tuple[Observation, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Take one action in each video: (B, …) in ``action_space``.

        Returns:
            observation (B, …), reward (B,), terminated (B,), truncated (B,), info. ``logits`` (B, K) in the info are
            f_C's output after the step (with SAME_STEP, those of the last step are in ``final_info``).

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
        device = self.source.device
        if over.all():
            # This call's actions belong to no episode.
            running = self._begin(np.arange(self.num_envs))
            zero = torch.zeros(self.num_envs, device=device)
            return self._observe(running), zero, zero.bool(), zero.bool(), self._vector_info(running.info)
        actions = self.check_actions(actions, (self.num_envs,))
        reward, logits = self._advance(running, actions)
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
                last = self._observe(running)
                info |= self._vector_info({"final_obs": last, "final_info": final}, ended)
                running = self._begin(np.flatnonzero(ended))
                info |= self._vector_info(running.info)
                stepped &= ~ended
        if stepped.any():
            info |= self._vector_info({"logits": logits}, stepped)
        return self._observe(running), reward, terminated, torch.zeros_like(terminated), info

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

    def _under_way(self, otherwise: str) -> SteppedT:
        if self._running is None:
            raise gym.error.ResetNeeded(otherwise)
        return self._running

    def _begin(self, rows: NDArray[np.int64], videos: Tensor | None = None) -> SteppedT:
        """Begin new episodes in some environments, with the next videos in order or those of given index rows (R,)."""
        places = rows.tolist()
        if videos is None:
            videos, visits = self._orders.take(places)
        else:
            visits = torch.zeros_like(videos)
        new = self._new(videos, visits, places)
        if len(rows) == self.num_envs:
            self._running = new
        else:
            assert self._running is not None
            self._running.replace(rows, new)
        return self._running

    def _vector_info(self, values: dict[str, Any], mask: NDArray[np.bool_] | None = None) -> dict[str, Any]:
        """Return an info whose values belong to the environments of a mask (B,), or to all without a mask."""
        device = self.source.device
        has = host_mask(np.ones(self.num_envs, dtype=np.bool_) if mask is None else mask, device)
        return {**values, **{f"_{name}": has for name in values}}
