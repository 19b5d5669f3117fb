"""π: an actor-critic on the observations of all frames so far (``ActorCritic`` in AdaFocus's public code)."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from adafocus_rl.agents.base import features_of
from adafocus_rl.agents.policies.distributions import Categorical, ClippedGaussian, Distribution
from adafocus_rl.agents.policies.encoder import ObservationEncoder, flatten_time
from adafocus_rl.agents.policies.memory import Memory, create_memory
from adafocus_rl.agents.policies.options import NetworkOptions
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.errors import UserError


class RecurrentActorCritic(ObservationEncoder):
    """State encoder → memory → actor and critic heads.

    Args:
        observation_space: space of one observation; see ``ObservationEncoder``.
        action_space: Discrete(A) for a softmax over A choices; or a Box of positions (2,) for a normal distribution
            around the sigmoid of the actor's output (AdaFocus-TSM's public code).
        options: sizes, kind of memory, and standard deviation.

    Attributes:
        state_dim: size of the memory's state S: H, 2H (hidden and cell state), or 0.

    Raises:
        UserError: if a space is of another kind.
    """

    def __init__(
        self,
        *,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        options: NetworkOptions,
    ) -> None:
        hidden = options.hidden
        super().__init__(
            observation_space,
            reduced_channels=options.reduced_channels,
            hidden=hidden,
            batch_norm=options.batch_norm,
        )
        memory = create_memory(options.cell, hidden)
        # Checkpoints name the memory's weights by its kind.
        self.add_module(options.cell, memory)
        self.cell, self.state_dim = options.cell, memory.state_dim
        self.continuous = isinstance(action_space, gym.spaces.Box)
        if isinstance(action_space, gym.spaces.Discrete):
            outputs = int(action_space.n)
        elif isinstance(action_space, gym.spaces.Box) and len(action_space.shape) == 1:
            outputs = action_space.shape[0]
        else:
            raise UserError(f"the action space is {action_space}; give a Discrete one, or a Box of positions (2,)")
        self.actor = nn.Linear(hidden, outputs)
        self.critic = nn.Linear(hidden, 1)
        self.log_std: Tensor
        if self.continuous:
            log_std = torch.full((outputs,), math.log(options.action_std))
            if options.learn_std:
                self.log_std = nn.Parameter(log_std)
            else:
                # An option, not a weight: it is not saved.
                self.register_buffer("log_std", log_std, persistent=False)

    @property
    def memory(self) -> Memory:
        """The memory between encoder and heads."""
        memory: Memory = getattr(self, self.cell)
        return memory

    def sequence(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """Return actor outputs (B, T, A or 2) and values (B, T) for whole episodes (B, T, …), from a zero state."""
        shape = features_of(observation).shape[:2]
        states = self.memory.sequence(self.encode(flatten_time(observation)).unflatten(0, shape))
        return self._act(states), self.critic(states).squeeze(-1)

    def step(self, observation: Observation, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return actor outputs (B, A or 2), values (B,) and next state (B, S) for one step's observations (B, …)."""
        hidden, state = self.memory.step(self.encode(observation), state)
        return self._act(hidden), self.critic(hidden).squeeze(-1), state

    def distribution(self, outputs: Tensor) -> Distribution:
        """Return the distribution whose logits of A choices, or mean position, are the actor's outputs (…, A or 2)."""
        return ClippedGaussian(outputs, self.log_std.exp()) if self.continuous else Categorical(outputs)

    def initial_state(self, count: int) -> Tensor:
        """Return zeros (B, S)."""
        return self.critic.weight.new_zeros(count, self.state_dim)

    def _act(self, states: Tensor) -> Tensor:
        outputs: Tensor = self.actor(states)
        return outputs.sigmoid() if self.continuous else outputs
