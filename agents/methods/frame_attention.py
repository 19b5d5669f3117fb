"""Listen-to-look's recurrent attention over the frames of a clip."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from adafocus_rl.flops import macs
from adafocus_rl.models.batch_norm import VectorNorm

WEIGHT_STD = 0.02
"""Standard deviation of initial weights."""


class FrameAttention(nn.Module):
    """Looks at a memory of frames in several steps, each with a query that depends on the steps before.

    Keys are a 1×1 convolution, batch normalisation and ReLU of the memory. An LSTM cell with weight normalisation reads
    one vector per step, the mean of the memory first, and a linear layer, batch normalisation, ReLU and another linear
    layer turn its hidden vector into the query. The weights of the frames are softmax(q · K / √W). The next vector that
    the cell reads is the weighted mean of the memory in training, and the frame of the largest weight in evaluation.

    Args:
        dim: D, length of the memory's vectors.
        width: W, length of keys and queries.
        hidden: length of the cell's hidden vector.
        distinct: whether a frame that had the largest weight in a step has weight 0 in later steps.
    """

    def __init__(self, dim: int, *, width: int, hidden: int, distinct: bool) -> None:
        super().__init__()
        self.dim, self.width, self.hidden, self.distinct = dim, width, hidden, distinct
        self.key = nn.Sequential(nn.Conv1d(dim, width, 1), nn.BatchNorm1d(width), nn.ReLU())
        self.cell = nn.LSTMCell(dim, hidden)
        self.query = nn.Sequential(nn.Linear(hidden, hidden), VectorNorm(hidden), nn.ReLU(), nn.Linear(hidden, width))
        initialise(self)
        for name in ("weight_ih", "weight_hh"):
            weight_norm(self.cell, name)

    def forward(self, memory: Tensor, steps: int) -> Tensor:
        """Return the weights (B, N, T) of the frames in each of N steps.

        Args:
            memory: (B, T, D).
            steps: N; at most T if frames are to be distinct.
        """
        rows = torch.arange(len(memory), device=memory.device)
        keys = self.key(memory.transpose(1, 2))
        closed = torch.zeros(memory.shape[:2], dtype=torch.bool, device=memory.device)
        state = (memory.new_zeros(len(memory), self.hidden),) * 2
        read, weights = memory.mean(1), []
        for _ in range(steps):
            state = self.cell(read, state)
            scores = torch.bmm(self.query(state[0])[:, None], keys)[:, 0] / math.sqrt(self.width)
            weights.append(scores.masked_fill(closed, -torch.inf).softmax(-1))
            chosen = weights[-1].argmax(-1)
            read = (weights[-1][..., None] * memory).sum(1) if self.training else memory[rows, chosen]
            if self.distinct:
                closed = closed.index_put((rows, chosen), torch.ones_like(chosen, dtype=torch.bool))
        return torch.stack(weights, dim=1)

    def frame_macs(self) -> int:
        """Return the MACs of one frame's key."""
        return macs(self.key, torch.zeros(1, self.dim, 1))

    def step_macs(self) -> int:
        """Return the MACs of one step's cell and query; its products with the keys of T frames take T · W besides."""
        return macs(self.cell, torch.zeros(1, self.dim)) + macs(self.query, torch.zeros(1, self.hidden))


def initialise(module: nn.Module) -> None:
    """Draw the weights of all linear, convolutional and recurrent layers from N(0, 0.02²), and set biases to 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv1d | nn.LSTMCell):
            for name, values in part.named_parameters(recurse=False):
                if name.startswith("weight"):
                    nn.init.normal_(cast(Tensor, values), std=WEIGHT_STD)
                else:
                    nn.init.zeros_(values)
