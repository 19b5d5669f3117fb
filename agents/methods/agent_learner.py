"""An agent that learns on an environment, as a training loop takes it."""

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
    """Binds an agent to where it learns and for how long; a ``Learner``."""

    agent: Agent
    """Who learns; changed in place."""

    env: DecisionVectorEnv
    """Where it learns."""

    epochs: int
    """Passes in all, for its schedules."""

    def train_epoch(self, epoch: int, tick: Tick) -> Mapping[str, float]:
        """Let the agent make one pass over the environment's videos."""
        return self.agent.train_epoch(self.env, epoch, epochs=self.epochs, tick=tick)

    def training_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what the agent needs to resume."""
        return self.agent.training_state()

    def load_training_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any], *, what: str) -> None:
        """Restore it.

        Raises:
            UserError: the state is of another architecture or optimiser.
        """
        self.agent.load_training_state(tensors, plain, what=what)
