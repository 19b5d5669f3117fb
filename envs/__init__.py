"""The decision problem: patch selection on frozen features, and its rewards."""

from adafocus_rl.envs.patch_selection import PatchSelectionVectorEnv
from adafocus_rl.envs.rewards import REWARDS, RewardConfig, RewardContext
from adafocus_rl.envs.rollout import Info, Policy, PolicyOutput, Rollout

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
