"""The registry of rewards of patch selection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adafocus_rl.registry import Registry

if TYPE_CHECKING:
    from adafocus_rl.envs.rewards import Reward

REWARDS: Registry[Reward] = Registry(
    "reward",
    "adafocus_rl.rewards",
    {
        "confidence": "adafocus_rl.envs.rewards:confidence",
        "increment": "adafocus_rl.envs.rewards:increment",
        "padding": "adafocus_rl.envs.rewards:padding_baseline",
        "random": "adafocus_rl.envs.rewards:random_baseline",
    },
)
"""Rewards by name, for ``env.reward.kind``."""
