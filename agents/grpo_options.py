"""Options of GRPO."""

from __future__ import annotations

from dataclasses import dataclass

from adafocus_rl.agents.policies.options import EntropyOptions
from adafocus_rl.options import require


@dataclass(frozen=True, kw_only=True)
class GRPOOptions(EntropyOptions):
    """Options of ``GRPOAgent``."""

    group_size: int = 4
    """Sequences G that are sampled for each video in each pass, at least 2."""

    gamma: float = 1.0
    """Discount γ in [0, 1]."""

    normalise: bool = False
    """Divide each advantage by the standard deviation of its group, as the source does. A group whose returns hardly
    differ then counts as much as any other."""

    clip_range: float = 0.2
    """Clipping range ε of the probability ratio, above 0."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        require(self, "group_size", 2 <= self.group_size <= 1024, "at least 2 and at most 1024")
        require(self, "gamma", 0 <= self.gamma <= 1, "a number in [0, 1]")
        require(self, "clip_range", self.clip_range > 0, "a number above 0")
