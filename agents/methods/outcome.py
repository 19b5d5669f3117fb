"""What a method answers on a batch of videos: what it predicts, and which compute was spent where."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Visit:
    """How a batch is looked at."""

    number: int = 0
    """How often its videos were seen before; stochastic methods choose anew in each visit."""

    rewards: bool = False
    """Whether rewards are wanted, by methods that have some. Takes longer."""

    probabilities: bool = False
    """Whether the probabilities of what was not chosen are wanted even if they take longer."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Multiply-accumulates (MACs) of one step."""

    always: int
    """Spent in every step: f_G, policies, f_C."""

    local: int
    """Spent by f_L in a step in which it looks."""

    @property
    def most(self) -> int:
        """Spent in a step in which f_L looks."""
        return self.always + self.local


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What a method did with B videos, step by step; a step is a frame, or the clip where encoders see it as a whole.

    All tensors lie on one device, any.
    """

    logits: Tensor
    """(B, T, K) after each step."""

    boxes: Tensor
    """(B, T, 4) int64, what f_L looked at, or would have: (top, left, height, width) in pixels of the frame."""

    cost: Cost
    """Of a step."""

    kept: Tensor | None = None
    """(B, T) bool, whether f_L looked at all; None of methods that look at every frame by design."""

    probabilities: Tensor | None = None
    """(B, T, A) of all grid positions, row by row, where there are such and they were wanted."""

    patch_size: int = 0
    """P of the grid's patches, to place the probabilities; 0 without them."""

    reward: Tensor | None = None
    """(B, T) float32, where there is one and it was wanted."""

    @property
    def looks(self) -> Tensor:
        """(B, T) bool, whether f_L looked."""
        return torch.ones_like(self.boxes[..., 0], dtype=torch.bool) if self.kept is None else self.kept

    @property
    def local_macs(self) -> Tensor:
        """(B, T) int64 MACs of f_L."""
        return self.looks.long() * self.cost.local

    @property
    def macs(self) -> Tensor:
        """(B, T) int64 MACs of everything."""
        return self.local_macs + self.cost.always


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of B videos."""

    logits: Tensor
    """(B, K), the prediction."""

    macs: Tensor
    """(B,) int64 multiply-accumulates that were spent on each video."""

    trace: Steps
    """How it came about."""

    @classmethod
    def after(cls, steps: Steps) -> Outcome:
        """The outcome of a method whose last step predicts, and which spends nothing outside its steps."""
        return cls(logits=steps.logits[:, -1], macs=steps.macs.sum(1), trace=steps)
