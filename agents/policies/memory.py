"""Memories of π: a GRU, an LSTM or none, with one tensor as their state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adafocus_rl.agents.policies.options import Cell

_WEIGHTS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


class GRUMemory(nn.GRU):
    """A GRU whose input and hidden vector have the same width; its state (B, S) is the hidden vector."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, batch_first=True)
        self.state_dim = width

    def sequence(self, x: Tensor) -> Tensor:
        """Return hidden vectors (B, T, width) after each input of (B, T, width), from a zero state."""
        states: Tensor = self(x)[0]
        return states

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the hidden vectors (B, width) and the states (B, S) after one input (B, width)."""
        hidden = torch.gru_cell(x, state, *(self.get_parameter(name) for name in _WEIGHTS))
        return hidden, hidden


class LSTMMemory(nn.LSTM):
    """An LSTM whose input and hidden vector have the same width; its state (B, S) is hidden and cell vector."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, batch_first=True)
        self.state_dim = 2 * width

    def sequence(self, x: Tensor) -> Tensor:
        """Return hidden vectors (B, T, width) after each input of (B, T, width), from a zero state."""
        states: Tensor = self(x)[0]
        return states

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the hidden vectors (B, width) and the states (B, S) after one input (B, width)."""
        parts = torch.lstm_cell(x, state.chunk(2, dim=1), *(self.get_parameter(name) for name in _WEIGHTS))
        return parts[0], torch.cat(parts, dim=1)


class NoMemory(nn.Module):
    """Passes its input on; the state has no entries."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.state_dim = 0

    def sequence(self, x: Tensor) -> Tensor:
        """Return the inputs (B, T, width)."""
        return x

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs (B, width) and the empty states."""
        return x, state


Memory = GRUMemory | LSTMMemory | NoMemory


def create_memory(cell: Cell, width: int) -> Memory:
    """Return a new memory of the given kind."""
    if cell == "none":
        return NoMemory(width)
    return GRUMemory(width) if cell == "gru" else LSTMMemory(width)
