"""A convolutional π: one logit for each position and scale, with few weights.

The paper's π flattens the map for a linear layer, so each position has weights of its own, 8 M in all. Here all
positions share the weights of a 1×1 and a 3×3 convolution, 93,000 weights in all at paper size. The network is our own.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from adafocus_rl.agents.base import features_of
from adafocus_rl.agents.policies.distributions import Categorical, Distribution
from adafocus_rl.agents.policies.encoder import flatten_time, join, split_space
from adafocus_rl.agents.policies.memory import create_memory
from adafocus_rl.agents.policies.options import NetworkOptions
from adafocus_rl.agents.policies.resampling import patch_weights
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.errors import UserError
from adafocus_rl.geometry import PatchGrid

SUMMARY_CHANNELS = 4
"""Channels to which the map is reduced for the memory."""


class ConvActorCritic(nn.Module):
    """Convolutions over the map → a logit for each cell; a summary of the map → memory → what changes these logits.

    - Cells: 1×1 convolution → ReLU → 3×3 convolution → ReLU: features f (C', h, w).
    - Memory: 1×1 convolution to 4 channels → flatten, with the other observations → linear → ReLU → memory m.
    - Positions: the logit of cell k is (v + Q m)·f_k + (W m)_k: the memory changes what is looked for, and where, so a
      place that it remembers can be selected although the present map does not show it. The h×w logits are
      interpolated bilinearly at the centres of the patches, and a learnt prior of each position is added. Each scale
      has h×w logits of its own, with its own v, Q and W.
    - Any other discrete actions (frame skipping) have logits that are linear in m.

    Args:
        observation_space: space of one observation: maps (C, h, w), or a Dict with maps as ``features``.
        action_space: Discrete(A).
        grid: the patches. Actions are its positions if there are as many.
        options: ``reduced_channels`` is C', ``conv_hidden`` the width of m.

    Attributes:
        state_dim: size of the memory's state S: H, 2H (hidden and cell state), or 0.

    Raises:
        UserError: if observations are not maps, or actions are continuous.
    """

    def __init__(
        self,
        *,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        grid: PatchGrid,
        options: NetworkOptions,
    ) -> None:
        super().__init__()
        shape, self._more, more = split_space(observation_space)
        if len(shape) != 3:
            raise UserError(
                f"agent.network=conv needs maps (env.observation=map), but features have the shape {tuple(shape)}"
            )
        if not isinstance(action_space, gym.spaces.Discrete):
            raise UserError(
                f"agent.network=conv selects one of a number of actions, but the action space is {action_space}; use "
                "grid actions (env.action_space=grid), or network=paper"
            )
        outputs, channels, width = int(action_space.n), options.reduced_channels, options.conv_hidden
        cells = (shape[1], shape[2])
        reduce, mix = nn.Conv2d(shape[0], channels, 1), nn.Conv2d(channels, channels, 3, padding=1)
        self.convolutions = nn.Sequential(reduce, nn.ReLU(), mix, nn.ReLU())
        self.summary = nn.Conv2d(channels, SUMMARY_CHANNELS, 1)
        self.context = nn.Linear(SUMMARY_CHANNELS * cells[0] * cells[1] + more, width)
        for layer in (reduce, mix, self.summary, self.context):
            # torch's default shrinks the differences between cells in each layer, and the memory learns nothing.
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        self.memory = create_memory(options.cell, width)
        self.state_dim = self.memory.state_dim
        self.on_grid = outputs == grid.num_actions
        self.scales = len(grid.scales)
        self.resample: Tensor
        if self.on_grid:
            self.saliency = nn.Linear(channels, self.scales, bias=False)
            self.what = nn.Linear(width, self.scales * channels)
            self.where = nn.Linear(width, self.scales * cells[0] * cells[1], bias=False)
            self.prior = nn.Parameter(torch.zeros(outputs))
            for weight in (self.what.weight, self.what.bias, self.where.weight):
                nn.init.zeros_(weight)  # at first, no place is preferred for where it is
            # It follows from the grid, so it is not saved.
            self.register_buffer("resample", patch_weights(grid, cells), persistent=False)
        else:
            self.actor = nn.Linear(width, outputs)
        self.critic = nn.Linear(width, 1)

    def sequence(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """Return logits (B, T, A) and values (B, T) for whole episodes (B, T, …), from a zero state."""
        shape = features_of(observation).shape[:2]
        cells, context = self._encode(flatten_time(observation))
        states = self.memory.sequence(context.unflatten(0, shape))
        return self._act(cells, states.flatten(0, 1)).unflatten(0, shape), self.critic(states).squeeze(-1)

    def step(self, observation: Observation, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B, A), values (B,) and next state (B, S) for one step's observations (B, …)."""
        cells, context = self._encode(observation)
        hidden, state = self.memory.step(context, state)
        return self._act(cells, hidden), self.critic(hidden).squeeze(-1), state

    def distribution(self, outputs: Tensor) -> Distribution:
        """Return the distribution over A choices with the logits (…, A)."""
        return Categorical(outputs)

    def initial_state(self, count: int) -> Tensor:
        """Return zeros (B, S)."""
        return self.critic.weight.new_zeros(count, self.state_dim)

    def _encode(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """Return the cells' features (N, C', h, w) and the memory's inputs (N, width) of observations (N, …)."""
        cells: Tensor = self.convolutions(features_of(observation))
        inputs = self.summary(cells).flatten(1)
        if self._more:
            inputs = torch.cat((inputs, join(observation, self._more)), dim=1)
        return cells, self.context(inputs).relu()

    def _act(self, cells: Tensor, hidden: Tensor) -> Tensor:
        """Return logits (N, A) from the cells' features (N, C', h, w) and the memory's output (N, width)."""
        if not self.on_grid:
            decided: Tensor = self.actor(hidden)
            return decided
        wanted = (self.saliency.weight.flatten() + self.what(hidden)).unflatten(1, (self.scales, -1))
        on_maps = wanted @ cells.flatten(2) + self.where(hidden).unflatten(1, (self.scales, -1))
        weights = self.resample.unflatten(0, (self.scales, -1))
        logits = [one @ resample.T for one, resample in zip(on_maps.unbind(1), weights, strict=True)]
        return torch.cat(logits, dim=1) + self.prior
