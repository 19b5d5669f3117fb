"""An agent and its environment as a ``Learner``, for the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from adafocus_rl.agents.base import Agent
from adafocus_rl.agents.learner import Tick
from adafocus_rl.envs import DecisionVectorEnv


@dataclass(frozen=True, kw_only=True)
class AgentLearner:
    """A ``Learner`` that trains an agent on an environment for a number of epochs."""

    agent: Agent
    """The agent to train; changed in place."""

    env: DecisionVectorEnv
    """The environment to train on."""

    epochs: int
    """Total number of passes, for the agent's schedules."""

    def train_epoch(self, epoch: int, tick: Tick) -> Mapping[str, float]:
        """Train the agent for one pass over the environment's videos.

        Raises:
            UserError: if the job has several ranks, and the agent learns in one process only.
        """
        self.agent.check_ranks()
        return self.agent.train_epoch(self.env, epoch, epochs=self.epochs, tick=tick)

    def training_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the agent's training state."""
        return self.agent.training_state()

    def load_training_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any], *, what: str) -> None:
        """Restore the agent's training state.

        Raises:
            UserError: if the state belongs to another architecture or optimiser.
        """
        self.agent.load_training_state(tensors, plain, what=what)
