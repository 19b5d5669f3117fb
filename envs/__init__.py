"""The decision problem: patch selection on frozen features, and its rewards."""

from adafocus_rl.envs.find_the_patch import FindThePatchEnv, FindThePatchVectorEnv
from adafocus_rl.envs.frame_skipping import FrameSkippingVectorEnv
from adafocus_rl.envs.numpy_adapter import NumpyVectorEnv, to_numpy
from adafocus_rl.envs.patch_selection import PatchSelectionVectorEnv
from adafocus_rl.envs.rewards import REWARDS, RewardConfig, RewardContext
from adafocus_rl.envs.rollout import Info, Policy, PolicyOutput, Rollout, StepPolicy
from adafocus_rl.envs.single import FrameSkippingEnv, PatchSelectionEnv
from adafocus_rl.envs.spaces import Observation, SpaceConfig

__all__ = [
    "REWARDS",
    "FindThePatchEnv",
    "FindThePatchVectorEnv",
    "FrameSkippingEnv",
    "FrameSkippingVectorEnv",
    "Info",
    "NumpyVectorEnv",
    "Observation",
    "PatchSelectionEnv",
    "PatchSelectionVectorEnv",
    "Policy",
    "PolicyOutput",
    "RewardConfig",
    "RewardContext",
    "Rollout",
    "SpaceConfig",
    "StepPolicy",
    "to_numpy",
]
