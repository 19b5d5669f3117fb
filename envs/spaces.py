"""Observation and action spaces: their options, the Gymnasium spaces, and tensors in them."""

from __future__ import annotations

from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from adafocus_rl.envs.options import SpaceConfig
from adafocus_rl.errors import UserError
from adafocus_rl.features.source import EpisodeFeatures, FeatureSource
from adafocus_rl.geometry import PatchGrid

Observation: TypeAlias = Any
"""A tensor of features, or a dict of tensors if the options add observations (``Spaces``)."""

NOWHERE = -1.0
"""All numbers of the last action before the first step."""


class Spaces:
    """Spaces for the options of one environment, and observations in these spaces.

    - ``features``: e^G of the frame, (C, h, w) or pooled (D_G,), float32. With ``motion`` (C + 1, h, w): the last
      channel is the mean absolute difference to the previous frame, zeros in the first frame.
    - ``last_action``: relative (row, column) of the previous patch, (2,) float32; (−1, −1) before the first. It is a
      position for grid actions, too, so that it means the same on every grid. With several scales (3,): the third is
      the patch's side as a share of the frame's.
    - ``time_step``: t / T, (1,) float32; 1 after the last frame.

    Without the last two, an observation is the tensor of features; otherwise it is a dict of the configured entries.

    Args:
        config: the options.
        source: features, which define the shapes and the grid.

    Attributes:
        patch: space of one patch, for problems in which an action selects one.
        observation: space of one environment's observation.

    Raises:
        UserError: an option is unknown, ``motion`` is set without maps, or actions are continuous and the features
            hold grid positions only or patches have several scales.
    """

    def __init__(self, config: SpaceConfig, source: FeatureSource) -> None:
        if config.action_space not in ("grid", "continuous"):
            raise UserError(f"env.action_space is {config.action_space!r}; give 'grid' or 'continuous'")
        if config.observation not in ("map", "vector"):
            raise UserError(f"env.observation is {config.observation!r}; give 'map' or 'vector'")
        if config.motion and config.observation != "map":
            raise UserError("env.motion adds a channel to maps, but env.observation is 'vector'; give 'map'")
        if config.action_space == "continuous" and not source.any_position:
            raise UserError(
                "env.action_space is 'continuous', but these features hold the patches of the grid only; use live "
                "features (stage2.features=live), or 'grid'"
            )
        if config.action_space == "continuous" and len(source.grid.scales) > 1:
            raise UserError(
                "env.action_space is 'continuous', a position without a size, but model.patch_scales is "
                f"{[*source.grid.scales]}; give 'grid', or one scale"
            )
        self.config = config
        self.grid: PatchGrid = source.grid
        self._last_dim = 2 if len(self.grid.scales) == 1 else 3
        self.continuous = config.action_space == "continuous"
        self.patch: gym.Space[Any] = (
            gym.spaces.Box(0, 1, (2,), np.float32) if self.continuous else gym.spaces.Discrete(self.grid.num_actions)
        )
        channels, height, width = source.map_shape
        shape = (channels + config.motion, height, width) if config.observation == "map" else (source.vector_dim,)
        features = gym.spaces.Box(-np.inf, np.inf, shape, np.float32)
        more: dict[str, gym.Space[Any]] = {}
        if config.last_action:
            more["last_action"] = gym.spaces.Box(NOWHERE, 1, (self._last_dim,), np.float32)
        if config.time_step:
            more["time_step"] = gym.spaces.Box(0, 1, (1,), np.float32)
        self.observation: gym.Space[Any] = gym.spaces.Dict({"features": features, **more}) if more else features

    def features(self, episodes: EpisodeFeatures) -> Tensor:
        """Return the observed features of all frames, (B, T, C[ + 1], h, w) or (B, T, D_G).

        Raises:
            UserError: ``motion`` is observed, and these episodes have no pictures.
        """
        if self.config.observation == "vector":
            return episodes.global_vector
        if not self.config.motion:
            return episodes.global_map
        motion = episodes.motion  # read once, because live episodes compute it on every access
        if motion is None:
            raise UserError(f"env.motion needs the frames' pictures, and {type(episodes).__name__} has none")
        *_, height, width = episodes.global_map.shape
        pooled = F.adaptive_avg_pool2d(motion, (height, width))
        return torch.cat((episodes.global_map, pooled[:, :, None]), dim=2)

    def position(self, action: Tensor) -> Tensor:
        """Return what is observed of actions as ``last_action``: (…, 2) float32, or (…, 3) with several scales."""
        if self.continuous:
            return action
        position = self.grid.position(action)
        if self._last_dim == 2:
            return position
        side = self.grid.action_box(action)[..., 2:3] / self.grid.frame_size
        return torch.cat((position, side), dim=-1)

    def nearest_action(self, last: Tensor) -> Tensor:
        """Return the grid actions (…), int64, nearest to the patches for which ``position`` returned ``last``."""
        if self._last_dim == 2:
            return self.grid.action(last)
        side = (last[..., 2:] * self.grid.frame_size).round()
        return self.grid.action(last[..., :2], self.grid.fitting_scale(side.expand(*side.shape[:-1], 4)))

    def boxes(self, action: Tensor) -> Tensor:
        """Return the boxes (…, 4) int64, in pixels, of the patches that actions select."""
        return self.grid.box(self.grid.origin(action)) if self.continuous else self.grid.action_box(action)

    def local(self, episodes: EpisodeFeatures, step: Tensor, action: Tensor) -> Tensor:
        """Return f_L's features (B, M[, K], D_L) for actions (B, M[, K][, 2]) in the frames ``step`` (B, M)."""
        return episodes.local_at_position(step, action) if self.continuous else episodes.local_at(step, action)

    def observe(self, features: Tensor, last: Tensor, time_step: Tensor) -> Observation:
        """Return the observations of frames.

        Args:
            features: (…, C, h, w) or (…, D_G).
            last: (…, 2 or 3), what ``position`` returned for the previous patches.
            time_step: (…,) float32, t / T.
        """
        more = {}
        if self.config.last_action:
            more["last_action"] = last
        if self.config.time_step:
            more["time_step"] = time_step[..., None]
        return {"features": features, **more} if more else features

    def nowhere(self, *shape: int, device: torch.device) -> Tensor:
        """Return the position (…, 2 or 3) that is observed before the first step."""
        return torch.full((*shape, self._last_dim), NOWHERE, device=device)


def blank(space: gym.Space[Any], *shape: int) -> Observation:
    """Return zero observations with leading axes ``shape``, on CPU."""
    if isinstance(space, gym.spaces.Dict):
        return {name: blank(part, *shape) for name, part in space.spaces.items()}
    return torch.zeros(*shape, *(space.shape or ()))
