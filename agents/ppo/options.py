"""Options of PPO. The defaults are GFNet's, which AdaFocus adopts (appendix B.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from adafocus_rl.agents.ppo.encoder import MOST_UNITS
from adafocus_rl.options import require, require_finite

Cell = Literal["gru", "lstm", "none"]


@dataclass(frozen=True, kw_only=True)
class PPOOptions:
    """Options of ``PPOAgent``."""

    learning_rate: float = 3e-4
    """Adam's learning rate, above 0."""

    beta1: float = 0.9
    """Decay rate of Adam's first moment, in [0, 1)."""

    beta2: float = 0.999
    """Decay rate of Adam's second moment, in [0, 1)."""

    gamma: float = 0.7
    """Discount γ in [0, 1]."""

    n_epochs: int = 1
    """Passes over each batch of episodes, at least 1."""

    n_minibatches: int = 1
    """Minibatches of videos in each such pass, with one update each; at least 1."""

    clip_range: float = 0.2
    """Clipping range ε of the probability ratio, above 0."""

    vf_coef: float = 0.5
    """Weight of the value loss."""

    ent_coef: float = 0.01
    """Weight of the entropy bonus in the first pass over the videos."""

    ent_coef_final: float | None = None
    """Weight of the entropy bonus in the last pass over the videos, reached linearly; null keeps ``ent_coef``."""

    gae_lambda: float | None = None
    """λ of generalised advantage estimation, in [0, 1]; null uses normalised returns minus values."""

    max_grad_norm: float = 0.0
    """Norm to which the gradient is clipped; 0 disables clipping."""

    reduced_channels: int = 32
    """Output channels of π's 1×1 convolution, at least 1."""

    hidden: int = 1024
    """Width of π's linear layer and of its memory, at least 1."""

    cell: Cell = "gru"
    """π's memory: ``gru`` (as in the paper), ``lstm`` or ``none``."""

    action_std: float = 0.25
    """Standard deviation of continuous actions, above 0 (0.25 in AdaFocus-TSM's public scripts, 0.1 in GFNet's); its
    initial value if it is learnt."""

    learn_std: bool = False
    """Learn the standard deviation."""

    batch_norm: bool = False
    """Apply batch normalisation after π's convolution and linear layer, as AdaFocus-TSM does: with the statistics of
    B·T frames in training, with running statistics in evaluation."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            OutOfRangeError: if an option is out of range; the message names the first one.
        """
        require_finite(self)
        gae_lambda, width = self.gae_lambda, f"at least 1 and at most {MOST_UNITS}"
        for name, valid, wanted in (
            ("learning_rate", self.learning_rate > 0, "a number above 0"),
            ("beta1", 0 <= self.beta1 < 1, "a number in [0, 1)"),
            ("beta2", 0 <= self.beta2 < 1, "a number in [0, 1)"),
            ("gamma", 0 <= self.gamma <= 1, "a number in [0, 1]"),
            ("n_epochs", self.n_epochs >= 1, "at least 1"),
            ("n_minibatches", self.n_minibatches >= 1, "at least 1"),
            ("clip_range", self.clip_range > 0, "a number above 0"),
            ("gae_lambda", gae_lambda is None or 0 <= gae_lambda <= 1, "a number in [0, 1], or null"),
            ("max_grad_norm", self.max_grad_norm >= 0, "0 (off) or a number above it"),
            ("reduced_channels", 1 <= self.reduced_channels <= MOST_UNITS, width),
            ("hidden", 1 <= self.hidden <= MOST_UNITS, width),
            ("cell", self.cell in get_args(Cell), "gru, lstm or none"),
            ("action_std", self.action_std > 0, "a number above 0"),
        ):
            require(self, name, valid, wanted)
