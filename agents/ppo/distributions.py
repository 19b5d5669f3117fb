"""What π draws its actions from: grid positions, or any position in the frame."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor


class Distribution(Protocol):
    """One distribution for each element of the leading axes (…), (B,) of a step or (B, T) of episodes."""

    def mode(self) -> Tensor:
        """The best actions."""
        ...

    def sample(self, uniform: Tensor) -> Tensor:
        """One draw each from uniform numbers in [0, 1), which have the shape of the draws.

        ``log_prob`` is of this, the environment gets ``action`` of it.
        """
        ...

    def action(self, sample: Tensor) -> Tensor:
        """Draw as actions of the environment."""
        ...

    def log_prob(self, sample: Tensor) -> Tensor:
        """(…,) log-probability, or log-density, of draws."""
        ...

    def entropy(self) -> Tensor:
        """(…,) in nats."""
        ...

    def probabilities(self) -> Tensor | None:
        """(…, A) of all choices; None where they cannot be counted."""
        ...


class Categorical:
    """One of A choices.

    Args:
        logits: (…, A).
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def mode(self) -> Tensor:
        """(…,) int64, the likeliest; the first of several."""
        return self.logits.argmax(-1)

    def sample(self, uniform: Tensor) -> Tensor:
        """(…,) int64 from uniform numbers (…,): the choice at which the probabilities add up to more than that."""
        total = self.logits.softmax(-1).double().cumsum(-1)
        # Rounding may leave the sum of all below 1; a choice without probability is never taken.
        wanted = uniform.double()[..., None] * total[..., -1:]
        return torch.searchsorted(total, wanted, right=True).squeeze(-1).clamp(max=self.logits.shape[-1] - 1)

    def action(self, sample: Tensor) -> Tensor:
        """The same."""
        return sample

    def log_prob(self, sample: Tensor) -> Tensor:
        """(…,) of choices (…,)."""
        return self.logits.log_softmax(-1).gather(-1, sample[..., None]).squeeze(-1)

    def entropy(self) -> Tensor:
        """(…,), at most log A."""
        log_probs = self.logits.log_softmax(-1)
        return -(log_probs.exp() * log_probs).sum(-1)

    def probabilities(self) -> Tensor:
        """(…, A)."""
        return self.logits.softmax(-1)


class ClippedGaussian:
    """Positions (row, column): independent normal draws, clipped to [0, 1]² for the environment.

    Probabilities are those of the draw before it is clipped, which makes the policy gradient exact. The public code of
    GFNet and of AdaFocus-TSM takes the density at the clipped position instead; away from the frame's edges the two are
    the same.

    Args:
        mean: (…, 2), in [0, 1].
        std: standard deviation, broadcasts to ``mean``.
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean = mean
        self.std = std.expand_as(mean)

    def mode(self) -> Tensor:
        """(…, 2), the mean."""
        return self.mean

    def sample(self, uniform: Tensor) -> Tensor:
        """(…, 2) from uniform numbers (…, 2), before it is clipped."""
        # Neither 0 nor 1 has a quantile; numbers of 53 bits move by half of their distance.
        normal: Tensor = torch.special.ndtri((uniform.double() + 2.0**-54).clamp(max=1 - 2.0**-53))
        return self.mean + self.std * normal.to(self.mean.dtype)

    def action(self, sample: Tensor) -> Tensor:
        """(…, 2) in [0, 1]²."""
        # A NaN would become an index far outside, which stops a GPU for good; the loss tells of it.
        return sample.clamp(0, 1).nan_to_num(0.5)

    def log_prob(self, sample: Tensor) -> Tensor:
        """(…,) log-density of draws (…, 2)."""
        scaled = (sample - self.mean) / self.std
        return (-0.5 * (scaled.square() + math.log(2 * math.pi)) - self.std.log()).sum(-1)

    def entropy(self) -> Tensor:
        """(…,) of the draw before it is clipped; it depends on the standard deviation alone."""
        return (0.5 * math.log(2 * math.pi * math.e) + self.std.log()).sum(-1)

    def probabilities(self) -> None:
        """None: positions between others cannot be counted."""
