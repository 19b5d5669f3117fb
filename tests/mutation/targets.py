"""The modules that get faults, and the tests that must detect them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Target:
    """A module, and the test files that belong to it; those that detect most come first."""

    path: str
    tests: tuple[str, ...]

    @property
    def module(self) -> str:
        """Full name for ``import``."""
        name = self.path.removesuffix(".py").replace("/", ".")
        return name if name.startswith("adafocus_rl.") else f"adafocus_rl.{name}"

    @property
    def source(self) -> str:
        """Text of the module."""
        return (ROOT / self.path).read_text(encoding="utf-8")


TARGETS = {
    "geometry": Target(
        "adafocus_rl/geometry.py",
        ("tests/adafocus_rl/test_geometry.py", "tests/adafocus_rl/test_geometry_scales.py"),
    ),
    "crops": Target(
        "adafocus_rl/crops.py",
        ("tests/adafocus_rl/test_geometry.py", "tests/adafocus_rl/test_geometry_scales.py"),
    ),
    "rewards": Target("envs/rewards.py", ("tests/envs/test_rewards.py",)),
    "losses": Target("agents/ppo/losses.py", ("tests/agents/test_losses.py",)),
    "metrics": Target("adafocus_rl/metrics.py", ("tests/adafocus_rl/test_metrics.py",)),
    "statistics": Target("adafocus_rl/statistics.py", ("tests/adafocus_rl/test_statistics.py",)),
    "frame_sampling": Target("adafocus_rl/data/sampling.py", ("tests/adafocus_rl/data/test_sampling.py",)),
    "action_sampling": Target("agents/policies/sampling.py", ("tests/agents/test_ppo.py",)),
    "distributions": Target("agents/policies/distributions.py", ("tests/agents/test_distributions.py",)),
}
"""By the name that ``make mutants`` prints."""
