"""Agents with a memory."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from adafocus_rl.agents.base import Agent
from adafocus_rl.envs import Info, PolicyOutput
from adafocus_rl.envs.spaces import Observation


class RecurrentAgent(Agent):
    """An agent with a memory of one tensor (B, S), which is zeros where an episode starts."""

    @abstractmethod
    def act_step(
        self, observation: Observation, state: Tensor | None, info: Info, *, deterministic: bool = False
    ) -> tuple[PolicyOutput, Tensor]:
        """One step; the state is as in ``predict``, and ``info``, which may be empty, is not looked at."""

    def predict(
        self,
        observation: Observation,
        state: Tensor | None = None,
        episode_start: Tensor | None = None,
        deterministic: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """One step; the state is what the memory keeps, (B, S), and zeros where an episode starts."""
        if state is not None and episode_start is not None:
            state = self.restart(state, torch.as_tensor(episode_start, device=state.device))
        output, state = self.act_step(observation, state, {}, deterministic=deterministic)
        return output.action, state

    def restart(self, state: Tensor, starts: Tensor) -> Tensor:
        """The state (B, S) where the episodes of rows ``starts`` (B,) bool begin anew."""
        return state.masked_fill(starts[:, None], 0)
