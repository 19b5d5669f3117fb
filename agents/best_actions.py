"""An agent's best action in one step as a module of tensors only, which other runtimes can execute."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from adafocus_rl.envs.spaces import Observation


class BestActions(nn.Module, ABC):
    """The best actions of one step, a function of the observation and a memory.

    Attributes:
        memory_dim: M, length of the memory, which is zero before the first step; 0 for agents without one.
    """

    memory_dim: int = 0

    @abstractmethod
    def forward(self, observation: Observation, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return the actions and the next memory (N, M).

        Args:
            observation: (N, …), a tensor or a dict of tensors.
            memory: (N, M).

        Returns:
            Actions, (N,) int64 on the grid or (N, 2) float32 positions, and the next memory.
        """


class MemorylessActions(BestActions):
    """The actions of an agent that looks at the present observation only.

    Args:
        choose: function from observations (N, …) to actions (N,) or (N, 2).
    """

    def __init__(self, choose: Callable[[Observation], Tensor]) -> None:
        super().__init__()
        self.choose = choose

    def forward(self, observation: Observation, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return the actions and the memory as it is."""
        return self.choose(observation), memory
