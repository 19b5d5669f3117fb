"""Action distributions of π: over grid positions, or over all positions in the frame."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor


class Distribution(Protocol):
    """One distribution for each element of the leading axes (…), (B,) for a step or (B, T) for episodes."""

    def mode(self) -> Tensor:
        """Return the most likely samples."""
        ...

    def sample(self, uniform: Tensor) -> Tensor:
        """Return one sample each, computed from uniform numbers in [0, 1) of the samples' shape.

        ``log_prob`` refers to the sample; the environment receives ``action`` of it.
        """
        ...

    def action(self, sample: Tensor) -> Tensor:
        """Return samples as actions of the environment."""
        ...

    def log_prob(self, sample: Tensor) -> Tensor:
        """Return the log-probability, or log-density, (…,) of samples."""
        ...

    def entropy(self) -> Tensor:
        """Return the entropy (…,) in nats."""
        ...

    def probabilities(self) -> Tensor | None:
        """Return the probabilities (…, A) of all choices; None if there are infinitely many."""
        ...


class Categorical:
    """Distribution over A choices.

    Args:
        logits: (…, A).
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def mode(self) -> Tensor:
        """Return the most likely choices (…,) int64; the first if there are several."""
        return self.logits.argmax(-1)

    def sample(self, uniform: Tensor) -> Tensor:
        """Return choices (…,) int64 for uniform numbers (…,): the first whose cumulative probability exceeds it."""
        total = self.logits.softmax(-1).double().cumsum(-1)
        # Rounding may leave the total below 1; scaled by it, no choice of probability 0 is drawn.
        wanted = uniform.double()[..., None] * total[..., -1:]
        return torch.searchsorted(total, wanted, right=True).squeeze(-1).clamp(max=self.logits.shape[-1] - 1)

    def action(self, sample: Tensor) -> Tensor:
        """Return the samples unchanged."""
        return sample

    def log_prob(self, sample: Tensor) -> Tensor:
        """Return the log-probability (…,) of choices (…,)."""
        return self.logits.log_softmax(-1).gather(-1, sample[..., None]).squeeze(-1)

    def entropy(self) -> Tensor:
        """Return the entropy (…,), at most log A."""
        log_probs = self.logits.log_softmax(-1)
        return -(log_probs.exp() * log_probs).sum(-1)

    def probabilities(self) -> Tensor:
        """Return the probabilities (…, A)."""
        return self.logits.softmax(-1)


class ClippedGaussian:
    """Distribution over positions (row, column): independent normal samples, clipped to [0, 1]² for the environment.

    Densities are those of the sample before it is clipped, which makes the policy gradient exact. The public code of
    GFNet and of AdaFocus-TSM uses the density at the clipped position instead; both are the same away from the frame's
    edges.

    Args:
        mean: (…, 2), in [0, 1].
        std: standard deviation, broadcasts to ``mean``.
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean = mean
        self.std = std.expand_as(mean)

    def mode(self) -> Tensor:
        """Return the mean (…, 2)."""
        return self.mean

    def sample(self, uniform: Tensor) -> Tensor:
        """Return samples (…, 2) for uniform numbers (…, 2), before clipping."""
        # 0 and 1 have no finite quantile, so the 53-bit numbers are shifted by half of their spacing.
        normal: Tensor = torch.special.ndtri((uniform.double() + 2.0**-54).clamp(max=1 - 2.0**-53))
        return self.mean + self.std * normal.to(self.mean.dtype)

    def action(self, sample: Tensor) -> Tensor:
        """Return positions (…, 2) in [0, 1]²."""
        # A NaN would become an index out of range, after which a GPU fails every call; the loss reports it.
        return sample.clamp(0, 1).nan_to_num(0.5)

    def log_prob(self, sample: Tensor) -> Tensor:
        """Return the log-density (…,) of samples (…, 2)."""
        scaled = (sample - self.mean) / self.std
        return (-0.5 * (scaled.square() + math.log(2 * math.pi)) - self.std.log()).sum(-1)

    def entropy(self) -> Tensor:
        """Return the entropy (…,) before clipping; it depends on the standard deviation only."""
        return (0.5 * math.log(2 * math.pi * math.e) + self.std.log()).sum(-1)

    def probabilities(self) -> None:
        """Return None, because there are infinitely many positions."""
