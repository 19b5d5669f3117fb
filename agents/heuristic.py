"""An agent that does not learn and selects the patch around the brightest part of the observed map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from adafocus_rl.agents.base import Agent, features_of
from adafocus_rl.agents.best_actions import MemorylessActions
from adafocus_rl.envs import DecisionVectorEnv, Info, PolicyOutput
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.errors import UserError
from adafocus_rl.options import require, require_finite


@dataclass(frozen=True, kw_only=True)
class HeuristicOptions:
    """Options of ``HeuristicAgent``."""

    sharpness: float = 2.0
    """Exponent of a cell's activation, above 0."""

    def __post_init__(self) -> None:
        require_finite(self)
        require(self, "sharpness", self.sharpness > 0, "a number above 0")


class HeuristicAgent(Agent):
    """Selects the patch around the centre of mass of e^G's activation, in each frame independently; nothing is learnt.

    The weight of a cell of the map is (a − min a)^``sharpness``, where a is the cell's mean square over the channels.
    All cells contribute, which pulls the centre of mass to the middle; the higher the sharpness, the more the brightest
    cell dominates. With several scales, patches have the scale nearest to 1.

    Args:
        env: as in ``Agent``; its observations must be maps.
        options: the sharpness.
        seed: not used.

    Raises:
        UserError: if observations are pooled vectors.
    """

    Options = HeuristicOptions
    options: HeuristicOptions

    label = "heuristic"
    reads_motion = False

    def __init__(self, env: DecisionVectorEnv, options: HeuristicOptions | None = None, *, seed: int = 0) -> None:
        super().__init__(env, options, seed=seed)
        if env.space_config.observation != "map":
            raise UserError("HeuristicAgent looks at maps, but env.observation is 'vector'; give 'map'")

    def act(self, observation: Observation, info: Info, *, deterministic: bool = False) -> PolicyOutput:
        """Return each frame's action, from that frame alone."""
        return PolicyOutput(action=self._choose(features_of(observation)))

    def predict(
        self,
        observation: Observation,
        state: Tensor | None = None,
        episode_start: Tensor | None = None,
        deterministic: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the frame's actions, from that frame alone; there is no state."""
        return self._choose(features_of(observation)), None

    def best_actions(self) -> MemorylessActions:
        """Return the choice from the present map."""
        return MemorylessActions(lambda observation: self._choose(features_of(observation)))

    def _choose(self, maps: Tensor) -> Tensor:
        """Return actions (…) or (…, 2) for maps (…, C, h, w)."""
        center = center_of_mass(maps, self.options.sharpness)
        grid = self.grid
        point = torch.cat((center * grid.frame_size, torch.zeros_like(center)), dim=-1)
        return self.action_at(grid.centered_position(point))


def center_of_mass(maps: Tensor, sharpness: float) -> Tensor:
    """Return the activation's centre of mass in maps (…, C, h, w), as relative (row, column) (…, 2) in (0, 1)².

    The mass of a cell is at the cell's middle; the centre of mass of a constant map is the map's middle.
    """
    energy = maps.square().mean(-3)
    energy = energy - energy.amin((-2, -1), keepdim=True)
    # Relative to the brightest cell, so that the power cannot overflow.
    mass = (energy / energy.amax((-2, -1), keepdim=True).clamp_min(1e-30)).pow(sharpness)
    total = mass.sum((-2, -1))
    axes = []
    for axis, other in ((-2, -1), (-1, -2)):
        cells = maps.shape[axis]
        middle = (torch.arange(cells, device=maps.device) + 0.5) / cells
        axes.append(torch.where(total > 0, (mass.sum(other) * middle).sum(-1) / total, 0.5))
    return torch.stack(axes, dim=-1)
