"""π: a recurrent actor-critic on the global feature map (AdaFocus, public code's ``ActorCritic``)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RecurrentActorCritic(nn.Module):
    """1×1 conv without bias → ReLU → flatten → linear → ReLU → GRU → actor and critic heads.

    Args:
        map_shape: (C, h, w) of e^G.
        num_actions: A.
        reduced_channels: outputs of the 1×1 conv (32 in the paper's code).
        hidden: width of the linear layer and of the GRU (1024).
    """

    def __init__(
        self, *, map_shape: tuple[int, int, int], num_actions: int, reduced_channels: int = 32, hidden: int = 1024
    ) -> None:
        super().__init__()
        channels, height, width = map_shape
        self.hidden = hidden
        self.state_encoder = nn.Sequential(
            nn.Conv2d(channels, reduced_channels, 1, bias=False),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(reduced_channels * height * width, hidden),
            nn.ReLU(),
        )
        self.gru = nn.GRU(hidden, hidden, batch_first=True)
        self.actor = nn.Linear(hidden, num_actions)
        self.critic = nn.Linear(hidden, 1)

    def sequence(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Whole episodes from a zero state: observations (B, T, C, h, w) → logits (B, T, A), values (B, T)."""
        encoded = self.state_encoder(observation.flatten(0, 1)).unflatten(0, observation.shape[:2])
        states, _ = self.gru(encoded)
        return self.actor(states), self.critic(states).squeeze(-1)

    def step(self, observation: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step: observations (B, C, h, w), state (B, H) → logits (B, A), values (B,), next state (B, H)."""
        weights = [getattr(self.gru, name) for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")]
        state = torch.gru_cell(self.state_encoder(observation), state, *weights)
        return self.actor(state), self.critic(state).squeeze(-1), state

    def initial_state(self, count: int) -> Tensor:
        """Zeros (B, H)."""
        return self.critic.weight.new_zeros(count, self.hidden)
