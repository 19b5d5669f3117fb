"""Shifts of the map as augmentation, for agents that learn from the outcomes of all actions.

As if the camera pointed elsewhere, a video's map and its table of outcomes move by the same number of cells. An agent
that learns from sampled actions cannot be shown a shifted map: the action that it would take there has no outcome.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

from adafocus_rl.agents.base import features_of
from adafocus_rl.agents.policies.encoder import split_space
from adafocus_rl.agents.policies.options import PolicyOptions
from adafocus_rl.agents.policies.resampling import interpolation
from adafocus_rl.envs import Counterfactuals
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.errors import UserError
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.options import require


@dataclass(frozen=True, kw_only=True)
class ShiftOptions(PolicyOptions):
    """Options of agents that learn from the outcomes of all actions."""

    shift: int = 0
    """Augmentation: in each pass, shift each video's map and outcomes by up to this many cells of the map, in either
    direction of both axes; 0 disables it."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        require(self, "shift", 0 <= self.shift <= 1024, "0 (off) or a number of cells up to 1024")


class MapShift:
    """Shifts observed maps and tables of outcomes together.

    A cell of the map is S / h pixels and a step of the grid (S − P) / (g − 1), so a shift by a cell is usually no whole
    number of steps: outcomes between positions are interpolated bilinearly. Beyond the edges, the map has the values of
    its outermost cells and the table those of its outermost positions, because a patch stays inside the frame. With
    several scales, the table of each is moved by its own steps.

    Args:
        observation_space: space of one observation, with maps (C, h, w) and without the last action.
        action_space: Discrete(A), the grid's positions.
        grid: the grid.
        most: largest shift in cells, at least 1.

    Raises:
        UserError: if observations or actions are of another kind.
    """

    def __init__(
        self, *, observation_space: gym.Space[Any], action_space: gym.Space[Any], grid: PatchGrid, most: int
    ) -> None:
        shape, names, _ = split_space(observation_space)
        if len(shape) != 3 or "last_action" in names:
            raise UserError(
                "agent.shift moves the map, so it needs env.observation=map without env.last_action, whose positions "
                "belong to the unshifted one; give shift=0 otherwise"
            )
        if action_space != gym.spaces.Discrete(grid.num_actions):
            raise UserError(f"agent.shift moves the grid's positions, but the action space is {action_space}")
        self.grid, self.most = grid, most
        moves = torch.arange(-most, most + 1)[:, None].float()
        self._maps = [interpolation(torch.arange(count) - moves, count) for count in shape[1:]]
        self._tables = []
        for one in grid.each:
            # In pixels, a cell and a step of the grid; all positions of a patch as large as the frame are the same.
            step = max(1, one.last_offset) / max(1, grid.grid - 1)
            self._tables.append(
                [
                    interpolation(torch.arange(grid.grid) - moves * grid.frame_size / count / step, grid.grid)
                    for count in shape[1:]
                ]
            )

    def draw(self, uniform: Tensor) -> Tensor:
        """Return shifts (B, 2) int64, rows and columns in −most … most, for uniform numbers (B, 2) in [0, 1)."""
        return (uniform * (2 * self.most + 1)).long() - self.most

    def observation(self, observation: Observation, shift: Tensor) -> Observation:
        """Return observations (B, T, …) with each video's map moved down and right by its shift (B, 2) in cells."""
        moved = self._move(features_of(observation), self._maps, shift)
        return moved if isinstance(observation, Tensor) else {**observation, "features": moved}

    def outcomes(self, outcomes: Counterfactuals, shift: Tensor) -> Counterfactuals:
        """Return probabilities and rewards (B, T, A), moved like the maps; states are left out."""

        def move(table: Tensor) -> Tensor:
            tables = table.unflatten(-1, (len(self._tables), self.grid.grid, -1)).unbind(2)
            moved = [self._move(one, sides, shift) for one, sides in zip(tables, self._tables, strict=True)]
            return torch.stack(moved, dim=2).flatten(2)

        return replace(outcomes, probability=move(outcomes.probability), reward=move(outcomes.reward), states=None)

    def _move(self, x: Tensor, sides: list[Tensor], shift: Tensor) -> Tensor:
        """Return x (B, T, …, rows, columns), moved by each video's shift."""
        rows, columns = (
            side.to(x.device, x.dtype)[shift[:, axis] + self.most].view(-1, *[1] * (x.ndim - 3), *side.shape[1:])
            for axis, side in enumerate(sides)
        )
        return rows @ x @ columns.transpose(-1, -2)
