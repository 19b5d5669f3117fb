"""Options of agents with Stable-Baselines3's algorithms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from adafocus_rl.agents.policies.options import MOST_UNITS
from adafocus_rl.options import require, require_finite

Algorithm = Literal["PPO", "A2C", "RecurrentPPO"]


@dataclass(frozen=True, kw_only=True)
class SB3Options:
    """Options of ``SB3Agent``."""

    algorithm: Algorithm = "PPO"
    """``PPO``, ``A2C`` or ``RecurrentPPO``."""

    learning_rate: float | None = None
    """Learning rate, above 0; null uses the algorithm's default."""

    gamma: float = 0.7
    """Discount γ in [0, 1]; the default is AdaFocus's."""

    n_steps: int | None = None
    """Steps of each environment between two updates, at least 1; null uses T, the length of an episode."""

    reduced_channels: int = 32
    """Output channels of the encoder's 1×1 convolution, at least 1."""

    hidden: int = 256
    """Width of the encoder, and of RecurrentPPO's LSTM, at least 1."""

    options: dict[str, Any] | None = None
    """Other keyword arguments of the algorithm's class, plain values only, such as ``{"n_epochs": 4}``."""

    def __post_init__(self) -> None:
        """Check the ranges; the algorithm's class checks ``options``.

        Raises:
            OutOfRangeError: if an option is out of range; the message names the first one.
        """
        require_finite(self)
        rate, n_steps, width = self.learning_rate, self.n_steps, f"at least 1 and at most {MOST_UNITS}"
        for name, valid, wanted in (
            ("algorithm", self.algorithm in get_args(Algorithm), "PPO, A2C or RecurrentPPO"),
            ("learning_rate", rate is None or rate > 0, "a number above 0, or null"),
            ("gamma", 0 <= self.gamma <= 1, "a number in [0, 1]"),
            ("n_steps", n_steps is None or 1 <= n_steps <= 1_000_000, "at least 1 and at most 1000000, or null"),
            ("reduced_channels", 1 <= self.reduced_channels <= MOST_UNITS, width),
            ("hidden", 1 <= self.hidden <= MOST_UNITS, width),
        ):
            require(self, name, valid, wanted)
