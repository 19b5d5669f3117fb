"""Agents that do not learn: one acts on the observation, one on privileged information."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adafocus_rl.agents.base import AGENTS, Agent, PlannedAgent, features_of
from adafocus_rl.envs import DecisionVectorEnv, Info, PolicyOutput, RewardContext
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.errors import UserError
from adafocus_rl.options import NoOptions, require, require_finite


@dataclass(frozen=True, kw_only=True)
class HeuristicOptions:
    """Options of ``HeuristicAgent``."""

    sharpness: float = 2.0
    """Exponent of a cell's activation, above 0."""

    def __post_init__(self) -> None:
        require_finite(self)
        require(self, "sharpness", self.sharpness > 0, "a number above 0")


@AGENTS.register("HeuristicAgent")
class HeuristicAgent(Agent):
    """Selects the patch around the centre of mass of e^G's activation, in each frame independently; nothing is learnt.

    The weight of a cell of the map is (a − min a)^``sharpness``, where a is the cell's mean square over the channels.
    All cells contribute, which pulls the centre of mass to the middle; the higher the sharpness, the more the brightest
    cell dominates.

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


@AGENTS.register("BestPatchAgent")
class BestPatchAgent(PlannedAgent):
    """Selects the grid patch after which f_C's probability of the true class is highest: an upper bound, no competitor.

    The agent reads the label, f_L's features of all A patches, and f_C. In every frame, it tries all patches after the
    history of its own choices, and takes the best one. The search is exhaustive in the frame and greedy over time: no
    policy selects a better patch for the current frame, but one that accepts worse patches at first might do better in
    the end. Its compute is not counted.

    Args:
        env: the environment whose features and f_C the agent reads; ``bind`` returns an agent that reads another one.
        options: none.
        seed: not used.

    Raises:
        UserError: if actions are not grid positions.
    """

    label = "best_patch"
    privileged = True

    def __init__(self, env: DecisionVectorEnv, options: NoOptions | None = None, *, seed: int = 0) -> None:
        super().__init__(env, options, seed=seed)
        self.env = env
        if self.continuous or self.num_actions != env.source.grid.num_actions:
            raise UserError(f"BestPatchAgent tries all grid positions, but the actions are {env.single_action_space}")

    def bind(self, env: DecisionVectorEnv) -> BestPatchAgent:
        """Return an agent that reads the features and the f_C of ``env``."""
        return self if env is self.env else BestPatchAgent(env, self.options, seed=self.seed)

    @torch.no_grad()
    def plan(self, info: Mapping[str, Any], num_frames: int) -> Tensor:
        """Return the best patches (B, T), found frame by frame."""
        env = self.env
        episodes = env.source.episodes(info["video"].cpu(), epoch=int(info["visit"].max()))
        classifier = env.classifier
        dtype = next((weight.dtype for weight in classifier.parameters()), torch.float32)
        state = classifier.initial_state(len(episodes), device=self.device, dtype=dtype)
        everything = torch.arange(self.num_actions, device=self.device).expand(len(episodes), -1)
        chosen: list[Tensor] = []
        for frame in range(num_frames):
            when = torch.full((len(episodes), 1), frame, device=self.device)

            def local(options: Tensor, when: Tensor = when) -> Tensor:
                return episodes.local_at(when, options[:, None])[:, 0]

            vector = episodes.global_vector[:, frame]
            context = RewardContext(
                classifier=classifier,
                labels=episodes.labels,
                history=state,
                state=state,
                global_vector=vector,
                local=local,
                local_dim=env.source.local_dim,
                baseline_actions=everything,
                action=everything[:, 0],  # not used: no reward is computed
            )
            chosen.append(context.with_actions(everything).argmax(-1))
            inputs = torch.cat((vector, local(chosen[-1][:, None])[:, 0]), dim=-1)
            state = classifier.cell(inputs.to(dtype), state)
        return torch.stack(chosen, dim=1)
