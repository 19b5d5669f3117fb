"""The decision problem: patch selection on frozen features, and its rewards."""

from adafocus_rl.envs.patch_selection import Info, PatchSelectionVectorEnv, Policy, PolicyOutput, Rollout
from adafocus_rl.envs.rewards import REWARDS, RewardConfig, RewardContext

__all__ = [
    "REWARDS",
    "Info",
    "PatchSelectionVectorEnv",
    "Policy",
    "PolicyOutput",
    "RewardConfig",
    "RewardContext",
    "Rollout",
]
