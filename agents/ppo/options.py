"""Options of PPO. The defaults are GFNet's, which AdaFocus adopts (appendix B.1)."""

from __future__ import annotations

from dataclasses import dataclass

from adafocus_rl.agents.policies.options import EntropyOptions
from adafocus_rl.options import require


@dataclass(frozen=True, kw_only=True)
class PPOOptions(EntropyOptions):
    """Options of ``PPOAgent``."""

    gamma: float = 0.7
    """Discount γ in [0, 1]."""

    clip_range: float = 0.2
    """Clipping range ε of the probability ratio, above 0."""

    vf_coef: float = 0.5
    """Weight of the value loss."""

    gae_lambda: float | None = None
    """λ of generalised advantage estimation, in [0, 1]; null uses normalised returns minus values."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        gae_lambda = self.gae_lambda
        require(self, "gamma", 0 <= self.gamma <= 1, "a number in [0, 1]")
        require(self, "clip_range", self.clip_range > 0, "a number above 0")
        require(self, "gae_lambda", gae_lambda is None or 0 <= gae_lambda <= 1, "a number in [0, 1], or null")
