"""Options of supervised training: the optimiser, precision, and the training of f_C."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from adafocus_rl.options import MOST, OutOfRangeError, require, require_range


@dataclass(frozen=True, kw_only=True)
class SGDConfig:
    """SGD; by default with Nesterov momentum and cosine decay from the initial learning rate to 0 over a stage."""

    batch_size: int = 64
    """Number of videos in a minibatch; at least 1."""

    optimizer: Literal["sgd", "adam"] = "sgd"
    """``sgd``, or ``adam`` with moment decays ``momentum`` and 0.999."""

    momentum: float = 0.9
    """Momentum in [0, 1)."""

    weight_decay: float = 1e-4
    """L2 regularisation coefficient; 0 disables it."""

    nesterov: bool = True
    """Use Nesterov momentum; false uses classical momentum."""

    schedule: Literal["cosine", "steps"] = "cosine"
    """``cosine``: decay to 0 over all steps of the stage; ``steps``: multiply by ``decay`` at each milestone."""

    milestones: list[int] = field(default_factory=list)
    """Numbers of finished epochs after which the learning rate decays; only for ``steps``."""

    decay: float = 0.1
    """Factor of the learning rate at each milestone."""

    max_grad_norm: float = 0.0
    """Norm to which the gradient is clipped; 0 disables clipping."""

    def __post_init__(self) -> None:
        require_range(self, "batch_size", least=1, most=MOST)
        require_range(self, "momentum", "weight_decay", "decay", "max_grad_norm", least=0)
        require_range(self, "milestones", least=1, most=MOST)
        if self.schedule == "steps":
            require(self, "milestones", len(self.milestones) > 0, "the epochs at which the rate falls, from 1 on")
        elif self.milestones:
            raise OutOfRangeError(
                f"milestones is {self.milestones}, but the schedule is a cosine; give schedule=steps beside it, or "
                "leave the milestones out"
            )
        require(self, "momentum", self.momentum < 1, "at least 0 and less than 1")


@dataclass(frozen=True, kw_only=True)
class PrecisionConfig:
    """Precision and memory use of a stage that trains encoders."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Data type of the encoders' activations (autocast); float16 scales the loss. Weights, f_C and losses are
    float32."""

    accumulate: int = 1
    """Number of parts in which a minibatch is computed, one after another; their gradients are accumulated for one
    update. Batch normalisation sees the parts, and updates its running statistics with each."""

    recompute: bool = False
    """Activation checkpointing: keep only the input of each block of the encoders, and recompute the rest in the
    backward pass."""

    sync_batch_norm: bool = False
    """Under torchrun: batch normalisation takes its statistics from the whole minibatch, and not from each rank's part.
    A minibatch of which a rank has no video is left out. No effect in one process."""

    def __post_init__(self) -> None:
        require_range(self, "accumulate", least=1, most=MOST)
        if self.sync_batch_norm and self.accumulate > 1:
            raise OutOfRangeError(
                f"accumulate is {self.accumulate}, but with sync_batch_norm each rank computes its part of a minibatch "
                "at once; leave one of them out"
            )


@dataclass(frozen=True, kw_only=True)
class ClassifierTraining:
    """Training of f_C on frozen features. The defaults are those of stage III (appendix B.1)."""

    epochs: int = 10
    """Passes over the training videos; 0 leaves the weights as they are."""

    learning_rate: float = 5e-3
    """Initial learning rate of f_C (stage III: 5e-3 on ActivityNet and FCVID, 5e-4 on Mini-Kinetics)."""

    sgd: SGDConfig = field(default_factory=SGDConfig)
    """Optimiser."""

    def __post_init__(self) -> None:
        require_range(self, "epochs", least=0, most=MOST)
        require_range(self, "learning_rate", least=0)
