"""Agents with a memory."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from adafocus_rl.agents.base import Agent
from adafocus_rl.envs import Info, PolicyOutput
from adafocus_rl.envs.spaces import Observation


class RecurrentAgent(Agent):
    """An agent whose memory is one tensor (B, S), reset to zeros where an episode starts."""

    @abstractmethod
    def act_step(
        self, observation: Observation, state: Tensor | None, info: Info, *, deterministic: bool = False
    ) -> tuple[PolicyOutput, Tensor]:
        """Return one step's actions and the next state; the state is as in ``predict``, ``info`` may be empty."""

    def predict(
        self,
        observation: Observation,
        state: Tensor | None = None,
        episode_start: Tensor | None = None,
        deterministic: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return one step's actions and the next state, which is the memory (B, S)."""
        if state is not None and episode_start is not None:
            state = self.restart(state, torch.as_tensor(episode_start, device=state.device))
        output, state = self.act_step(observation, state, {}, deterministic=deterministic)
        return output.action, state

    def restart(self, state: Tensor, starts: Tensor) -> Tensor:
        """Return the state (B, S), reset in the rows ``starts`` (B,) bool, where a new episode begins."""
        return state.masked_fill(starts[:, None], 0)
