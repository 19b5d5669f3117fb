"""Configuration of the training stages. Defaults are the paper's (appendix B.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from adafocus_rl.agents import GRPOOptions, PPOOptions
from adafocus_rl.agents.policies.options import Precision
from adafocus_rl.agents.training_options import ClassifierTraining, PrecisionConfig, SGDConfig
from adafocus_rl.envs.options import SkippingReward
from adafocus_rl.options import MOST, require, require_range


@dataclass(frozen=True, kw_only=True)
class StillsConfig:
    """Training of f_G and f_L on close-ups before that on whole frames, if there are no published weights."""

    epochs: int = 0
    """Passes over the list of stills; 0 skips this training, which encoders with published weights do not need."""

    learning_rate: float = 0.03
    """Initial learning rate of f_G and f_L."""

    sgd: SGDConfig = field(default_factory=SGDConfig)
    """Optimiser."""

    def __post_init__(self) -> None:
        require_range(self, "epochs", least=0, most=MOST)
        require_range(self, "learning_rate", least=0)


@dataclass(frozen=True, kw_only=True)
class Stage0Config:
    """Stage 0: initialisation of f_G and f_L on whole frames."""

    epochs: int = 15
    """Passes over the training list; 0 keeps the encoders as they are."""

    learning_rate: float = 0.01
    """Initial learning rate of f_G and f_L."""

    head_learning_rate: float | None = None
    """Initial learning rate of their linear heads; null uses that of the encoders."""

    dropout: float = 0.0
    """Probability in [0, 1) of dropping an entry of a head's input."""

    stills: StillsConfig = field(default_factory=StillsConfig)
    """Training on close-ups before that on whole frames."""

    sgd: SGDConfig = field(default_factory=SGDConfig)
    """Optimiser."""

    compute: PrecisionConfig = field(default_factory=PrecisionConfig)
    """Precision and memory."""

    def __post_init__(self) -> None:
        require_range(self, "epochs", least=0, most=MOST)
        require_range(self, "learning_rate", "head_learning_rate", "dropout", least=0)
        require(self, "dropout", self.dropout < 1, "at least 0 and less than 1")


@dataclass(frozen=True, kw_only=True)
class Stage1Config:
    """Stage I: training of f_L and f_C on random patches; f_G is frozen and in evaluation mode."""

    epochs: int = 50
    """Passes over the training list."""

    focus_learning_rate: float = 5e-4
    """Initial learning rate of f_L; 0 keeps f_L as it is, batch normalisation's statistics included."""

    classifier_learning_rate: float = 0.05
    """Initial learning rate of f_C."""

    drop_frames: float = 0.0
    """Probability in [0, 1) with which f_C receives zeros instead of f_L's features of a frame, as it does in skipped
    frames. At 0, f_C has seen no skipped frame before stage III."""

    sgd: SGDConfig = field(default_factory=SGDConfig)
    """Optimiser."""

    compute: PrecisionConfig = field(default_factory=PrecisionConfig)
    """Precision and memory."""

    def __post_init__(self) -> None:
        require_range(self, "epochs", least=0, most=MOST)
        require_range(self, "focus_learning_rate", "classifier_learning_rate", least=0)
        require(self, "drop_frames", 0 <= self.drop_frames < 1, "at least 0 and less than 1")


@dataclass(frozen=True, kw_only=True)
class Stage2Config:
    """Stage II: training of π by reinforcement learning; f_G, f_L and f_C are frozen."""

    epochs: int = 50
    """Passes over the training videos."""

    batch_size: int = 64
    """Number of videos (environments) per policy update."""

    features: Literal["bank", "live"] = "bank"
    """``bank``: compute the features of all patches of all frames once, in advance; ``live``: run the encoders every
    time, with augmentation."""

    precision: Precision = "float32"
    """Precision of products in the training of π and π′: ``float32``; ``tf32``, with inputs rounded to 10 bits on GPUs
    that do so; ``bfloat16``, with inputs of the policy's layers rounded to 8 bits, and f_C's as with ``tf32``. Weights
    and sums are float32."""

    def __post_init__(self) -> None:
        require_range(self, "epochs", least=0, most=MOST)
        require_range(self, "batch_size", least=1, most=MOST)


@dataclass(frozen=True, kw_only=True)
class Stage3Config(ClassifierTraining):
    """Stage III: fine-tuning of f_C on the patches that the learnt policy selects; everything else is frozen."""

    features: Literal["bank", "live"] = "bank"
    """As in stage II."""


@dataclass(frozen=True, kw_only=True)
class SkipConfig:
    """Training of π′, which skips frames (AdaFocus+), after π in stage II; stage III fine-tunes f_C for both."""

    lambdas: list[float] = field(default_factory=list)
    """Costs λ of keeping a frame, in probability of the true class; each trains a π′ of its own, an operating point.
    Empty trains none. With the same reward, a higher λ keeps fewer frames."""

    keep: list[float] = field(default_factory=list)
    """Shares of the frames to keep, instead of costs; each trains a π′ of its own. λ is moved while π′ learns, and its
    decision is calibrated on the validation videos, without their labels, in the end. The paper's shares are [0.89,
    0.67, 0.46]."""

    price_rate: float = 0.003
    """With ``keep``, λ changes by this times (share kept − wanted share) after each batch of videos."""

    agent: Literal["PPOAgent", "GRPOAgent"] = "PPOAgent"
    """Class of π′."""

    reward: SkippingReward = "gain"
    """``gain``: of a kept frame, p(true class) with f_L's features minus that without them, from the same history;
    ``last``: p(true class) after the last frame. λ is subtracted for each kept frame."""

    observe_classifier: bool = False
    """Whether π′ also observes f_C's state before each frame, its highest probability, its entropy and the time step.
    π′ then acts frame by frame."""

    epochs: int = 10
    """Passes over the training videos for each π′."""

    options: PPOOptions | GRPOOptions = field(default_factory=PPOOptions)
    """Options of π′. Files and command lines override single options; the others are those of the run's agent if that
    is of the same class, else the defaults, with the network options of the run's agent if it has any."""

    def __post_init__(self) -> None:
        require_range(self, "epochs", least=0, most=MOST)
        require_range(self, "price_rate", least=0)
        require(self, "lambdas", all(map(math.isfinite, self.lambdas)), "finite numbers")
        require(self, "lambdas", len({*self.lambdas}) == len(self.lambdas), "each λ once")
        require(self, "keep", all(0 < share < 1 for share in self.keep), "shares between 0 and 1")
        require(self, "keep", len({*self.keep}) == len(self.keep), "each share once")
        both = "the costs of frames or the shares to keep, not both: skip.lambdas=[] leaves the costs out"
        require(self, "keep", not (self.keep and self.lambdas), both)

    @property
    def knobs(self) -> list[float]:
        """λ, or shares, of all operating points."""
        return self.keep or self.lambdas
