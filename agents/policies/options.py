"""Options that agents with π's network share. The defaults are the paper's (appendix B.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from adafocus_rl.options import require, require_finite

MOST_UNITS = 16_384
"""Largest width of a layer: a memory of that width has 10⁹ weights."""

Cell = Literal["gru", "lstm", "none"]
Architecture = Literal["paper", "conv"]
Precision = Literal["float32", "tf32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Options of π's network."""

    network: Architecture = "paper"
    """π's architecture: ``paper`` flattens the map for a linear layer and a memory; ``conv`` has a logit for each cell
    of the map, and a hundredth of the weights (grid actions and maps only)."""

    reduced_channels: int = 32
    """Output channels of π's 1×1 convolution, at least 1."""

    hidden: int = 1024
    """Width of the paper's π's linear layer and of its memory, at least 1."""

    conv_hidden: int = 64
    """Width of the convolutional π's pooled features and of its memory, at least 1."""

    cell: Cell = "gru"
    """π's memory: ``gru`` (as in the paper), ``lstm`` or ``none``."""

    action_std: float = 0.25
    """Standard deviation of continuous actions, above 0 (0.25 in AdaFocus-TSM's public scripts, 0.1 in GFNet's); its
    initial value if it is learnt."""

    learn_std: bool = False
    """Learn the standard deviation."""

    batch_norm: bool = False
    """Apply batch normalisation after π's convolution and linear layer, as AdaFocus-TSM does: with the statistics of
    B·T frames in training, with running statistics in evaluation. Only for the paper's π."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            OutOfRangeError: if an option is out of range; the message names the first one.
        """
        require_finite(self)
        width = f"at least 1 and at most {MOST_UNITS}"
        require(self, "reduced_channels", 1 <= self.reduced_channels <= MOST_UNITS, width)
        require(self, "hidden", 1 <= self.hidden <= MOST_UNITS, width)
        require(self, "conv_hidden", 1 <= self.conv_hidden <= MOST_UNITS, width)
        require(self, "network", self.network in get_args(Architecture), "paper or conv")
        require(self, "batch_norm", not (self.batch_norm and self.network == "conv"), "false with network=conv")
        require(self, "cell", self.cell in get_args(Cell), "gru, lstm or none")
        require(self, "action_std", self.action_std > 0, "a number above 0")


@dataclass(frozen=True, kw_only=True)
class PolicyOptions(NetworkOptions):
    """Options of π's network and of its updates."""

    learning_rate: float = 3e-4
    """Adam's learning rate, above 0."""

    beta1: float = 0.9
    """Decay rate of Adam's first moment, in [0, 1)."""

    beta2: float = 0.999
    """Decay rate of Adam's second moment, in [0, 1)."""

    n_epochs: int = 1
    """Passes over each batch of episodes, at least 1."""

    n_minibatches: int = 1
    """Minibatches of videos in each such pass, with one update each; at least 1."""

    max_grad_norm: float = 0.0
    """Norm to which the gradient is clipped; 0 disables clipping."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        require(self, "learning_rate", self.learning_rate > 0, "a number above 0")
        require(self, "beta1", 0 <= self.beta1 < 1, "a number in [0, 1)")
        require(self, "beta2", 0 <= self.beta2 < 1, "a number in [0, 1)")
        require(self, "n_epochs", self.n_epochs >= 1, "at least 1")
        require(self, "n_minibatches", self.n_minibatches >= 1, "at least 1")
        require(self, "max_grad_norm", self.max_grad_norm >= 0, "0 (off) or a number above it")


@dataclass(frozen=True, kw_only=True)
class EntropyOptions(PolicyOptions):
    """Options of agents whose objective has an entropy bonus."""

    ent_coef: float = 0.01
    """Weight of the entropy bonus in the first pass over the videos."""

    ent_coef_final: float | None = None
    """Weight of the entropy bonus in the last pass over the videos, reached linearly; null keeps ``ent_coef``."""

    def ent_coef_at(self, progress: float) -> float:
        """Return the weight of the entropy bonus at a share of the passes, 0 in the first and 1 in the last."""
        last = self.ent_coef if self.ent_coef_final is None else self.ent_coef_final
        return self.ent_coef + progress * (last - self.ent_coef)
