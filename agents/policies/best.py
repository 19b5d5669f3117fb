"""Best actions of π's network, for other runtimes."""

from __future__ import annotations

from torch import Tensor

from adafocus_rl.agents.best_actions import BestActions
from adafocus_rl.agents.policies.create import PolicyNetwork
from adafocus_rl.envs.spaces import Observation


class NetworkActions(BestActions):
    """One step of π's network, and the mode of its distribution.

    Args:
        network: π's network.
    """

    def __init__(self, network: PolicyNetwork) -> None:
        super().__init__()
        self.network = network
        self.memory_dim = network.state_dim

    def forward(self, observation: Observation, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return the most likely actions and the memory's next state."""
        outputs, _, memory = self.network.step(observation, memory)
        distribution = self.network.distribution(outputs)
        return distribution.action(distribution.mode()), memory
