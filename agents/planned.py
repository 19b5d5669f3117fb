"""Agents that plan whole episodes from facts about the videos."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adafocus_rl.agents.base import Agent, features_of
from adafocus_rl.envs import DecisionVectorEnv, Info, PolicyOutput
from adafocus_rl.envs.spaces import Observation


class PlannedAgent(Agent):
    """An agent that plans whole episodes from ``info``; its actions do not depend on observations."""

    _planned: Tensor | None = None

    def __init__(self, env: DecisionVectorEnv, options: Any = None, *, seed: int = 0) -> None:
        super().__init__(env, options, seed=seed)
        self.num_steps = env.source.num_steps

    def macs_per_step(self) -> int:
        """Return 0: a plan needs no pass through a network for each frame."""
        return 0

    @abstractmethod
    def plan(self, info: Mapping[str, Any], num_frames: int) -> Tensor:
        """Return actions (B, T) int64 or (B, T, 2) float32, on the device of ``info``.

        ``info`` may come from another environment than the one that the agent was created for.
        """

    def act(self, observation: Observation, info: Info, *, deterministic: bool = False) -> PolicyOutput:
        """Return the plan; the observation only determines the number of frames."""
        return PolicyOutput(action=self.plan(info, features_of(observation).shape[1]))

    def act_step(
        self, observation: Observation, state: Any, info: Info, *, deterministic: bool = False
    ) -> tuple[PolicyOutput, Any]:
        """Return the next action of the plan; the state is the plan and the number of the frame."""
        plan, step = (self.plan(info, info["true_box"].shape[1]), 0) if state is None else state
        return PolicyOutput(action=plan[:, step]), (plan, step + 1)

    def act_online(
        self, observation: Observation, state: Any, info: Info, *, deterministic: bool = False
    ) -> tuple[PolicyOutput, Any]:
        """Return the action that a plan has for this frame; the state is the number of the next frame.

        The plan is that of a clip, or a longer one after its last frame. It must not read anything of other frames from
        ``info``, which describes this frame only.
        """
        number = 0 if state is None else state
        plan = self.plan(info, max(self.num_steps, number + 1))
        return PolicyOutput(action=plan[:, number]), number + 1

    def begin(self, info: Mapping[str, Any]) -> None:
        """Plan the episodes that begin."""
        self._planned = self.plan(info, info["true_box"].shape[1])

    def predict(
        self,
        observation: Observation,
        state: Tensor | None = None,
        episode_start: Tensor | None = None,
        deterministic: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the next action of the plan; the state is the number of the frame in its episode, (B,) int64.

        Raises:
            RuntimeError: if ``begin`` was not called.
        """
        if self._planned is None:
            raise RuntimeError(
                f"{type(self).__name__} plans from privileged facts: call begin(info) with reset()'s info"
            )
        step = torch.zeros(len(self._planned), dtype=torch.long, device=self._planned.device)
        step = step if state is None else state
        if episode_start is not None:
            step = torch.where(torch.as_tensor(episode_start, device=step.device), 0, step)
        return self._planned[torch.arange(len(step), device=step.device), step], step + 1
