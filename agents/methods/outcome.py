"""Results of a method on a batch of videos: its predictions, and the compute spent in each step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from adafocus_rl.geometry import PatchGrid


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One visit of a method to a batch of videos, and which further results to compute."""

    number: int = 0
    """How often the videos were seen before; stochastic methods choose anew in each visit."""

    rewards: bool = False
    """Whether to compute rewards, if the method has any; takes longer."""

    probabilities: bool = False
    """Whether to compute the probabilities of all choices even if that takes longer."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Multiply-accumulates (MACs) of one step."""

    always: int
    """Spent in every step: f_G, policies, f_C."""

    local: int
    """Spent by f_L in a step in which it runs."""

    ahead: int = 0
    """The part of ``always`` that is spent in all steps before the first decision, by methods that preview the clip."""

    @property
    def most(self) -> int:
        """Spent in a step in which f_L runs."""
        return self.always + self.local


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Trace of a method on B videos, step by step; a step is a frame, or the clip if encoders process it as a whole.

    All tensors are on one device, which may be any.
    """

    logits: Tensor
    """(B, T, K) f_C's logits after each step."""

    boxes: Tensor
    """(B, T, 4) int64, where f_L looked, or would have: (top, left, height, width) in pixels of the frame."""

    cost: Cost
    """Cost of a step."""

    kept: Tensor | None = None
    """(B, T) bool, whether f_L ran; None for methods that run it in every frame by design."""

    order: Tensor | None = None
    """(B, T) int64, when f_L looked at the frame, counted from 0, and −1 if it did not; None if in the frames' own
    order."""

    sizes: Tensor | None = None
    """(B, T) int64, side in pixels of f_L's input, to which it was resized, and 0 if it did not run; None if it is that
    of the box in every frame."""

    focus_macs: Tensor | None = None
    """(B, T) int64 MACs of f_L, for methods in which they differ between frames; None for ``cost.local`` where it
    ran."""

    ran: Tensor | None = None
    """(B, T) bool, False in steps that the method skips or after which it has stopped, where only ``cost.ahead`` is
    spent and the logits stay the same; None for methods that do neither."""

    probabilities: Tensor | None = None
    """(B, T, A) probabilities of all grid positions, scale by scale and row by row, if the method has them and they
    were requested."""

    patch_size: int = 0
    """Side P of the grid's patches, to place the probabilities; 0 without them."""

    patch_scales: tuple[float, ...] = (1.0,)
    """Scales of the grid's patches."""

    reward: Tensor | None = None
    """(B, T) float32, if there is a reward and it was requested."""

    @classmethod
    def of_patches(cls, grid: PatchGrid, *, probabilities: Tensor | None = None, **steps: Any) -> Steps:
        """Return the steps of a method that selects one patch of the grid in each.

        Args:
            grid: the grid.
            probabilities: (B, T, A), if they are known.
            **steps: the other fields; ``sizes`` follows from the grid.
        """
        found = cls(**steps)
        if grid.sides != (grid.patch_size,):
            found = replace(found, sizes=torch.where(found.looks, grid.patch_size, 0))
        if probabilities is None:
            return found
        return replace(found, probabilities=probabilities, patch_size=grid.patch_size, patch_scales=grid.scales)

    def choices(self, video: int) -> dict[str, Tensor]:
        """Return ``sizes``, ``order`` and ``ran`` (T,) of one video, without those that are None."""
        every = {"sizes": self.sizes, "order": self.order, "ran": self.ran}
        return {name: value[video] for name, value in every.items() if value is not None}

    @property
    def looks(self) -> Tensor:
        """(B, T) bool, whether f_L ran."""
        return torch.ones_like(self.boxes[..., 0], dtype=torch.bool) if self.kept is None else self.kept

    @property
    def local_macs(self) -> Tensor:
        """(B, T) int64 MACs of f_L."""
        if self.focus_macs is not None:
            return self.focus_macs
        if self.kept is None:
            return torch.full(self.boxes.shape[:2], self.cost.local, device=self.boxes.device)
        return self.kept * self.cost.local

    @property
    def macs(self) -> Tensor:
        """(B, T) int64 MACs of all parts."""
        always, ahead = self.cost.always, self.cost.ahead
        return self.local_macs + (always if self.ran is None else ahead + self.ran.long() * (always - ahead))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of a method on B videos."""

    logits: Tensor
    """(B, K), the prediction."""

    macs: Tensor
    """(B,) int64 multiply-accumulates spent on each video."""

    trace: Steps
    """The steps that led to it."""

    @property
    def macs_so_far(self) -> Tensor:
        """(B, T) int64 MACs spent until the end of each step; those of the last step are ``macs``.

        What is spent ahead of the first step, or outside all steps, is included from the first step on.
        """
        ahead = self.trace.cost.ahead
        before = self.macs - self.trace.macs.sum(1) + ahead * self.trace.logits.shape[1]
        return before[:, None] + (self.trace.macs - ahead).cumsum(1)

    @classmethod
    def after(cls, steps: Steps) -> Outcome:
        """Return the outcome of a method that predicts in its last step and spends nothing outside its steps."""
        return cls(logits=steps.logits[:, -1], macs=steps.macs.sum(1), trace=steps)
