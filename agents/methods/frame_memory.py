"""AdaFrame's memory of light features, which a recurrent network attends to."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from adafocus_rl.flops import macs


class FrameMemory(nn.Module):
    """Soft attention to the light features of some frames: softmax(q · K / √W), with a query made of a hidden vector.

    Args:
        dim: D, length of the memory's vectors.
        hidden: length of the hidden vector.
        width: W, length of keys and queries.
    """

    def __init__(self, dim: int, *, hidden: int, width: int) -> None:
        super().__init__()
        self.dim, self.hidden, self.width = dim, hidden, width
        self.key = nn.Linear(dim, width)
        self.query = nn.Linear(hidden, width)

    def forward(self, hidden: Tensor, keys: Tensor, memory: Tensor) -> Tensor:
        """Return the weighted mean (B, D) of the memory.

        Args:
            hidden: (B, H).
            keys: (B, m, W), ``key`` of the memory.
            memory: (B, m, D), vectors with ``positional_encoding``.
        """
        scores = torch.bmm(keys, self.query(hidden)[..., None])[..., 0] / math.sqrt(self.width)
        return torch.bmm(scores.softmax(-1)[:, None], memory)[:, 0]

    def frame_macs(self) -> int:
        """Return the MACs of one frame's key."""
        return macs(self.key, torch.zeros(1, self.dim))

    def step_macs(self, frames: int) -> int:
        """Return the MACs of one step's query and attention to a number of frames."""
        return macs(self.query, torch.zeros(1, self.hidden)) + frames * (self.width + self.dim)


def positional_encoding(frames: Tensor, dim: int) -> Tensor:
    """Return the sinusoidal encoding (m, D) of frame numbers (m,) (Vaswani et al. 2017)."""
    index = torch.arange(dim, device=frames.device)
    angle = frames[:, None] / 10_000 ** ((index - index % 2) / dim)
    return torch.where(index % 2 == 0, angle.sin(), angle.cos())
