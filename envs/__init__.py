"""Decision problems on frozen features (patch selection, frame skipping, frame selection) and their rewards."""

from adafocus_rl.envs.counterfactuals import Counterfactuals
from adafocus_rl.envs.find_the_patch import FindThePatchEnv, FindThePatchVectorEnv
from adafocus_rl.envs.frame_selection import FrameSelectionVectorEnv
from adafocus_rl.envs.frame_skipping import FrameSkippingVectorEnv
from adafocus_rl.envs.last_crop import LastCropVectorEnv
from adafocus_rl.envs.numpy_adapter import NumpyVectorEnv, to_numpy
from adafocus_rl.envs.patch_selection import PatchSelectionVectorEnv
from adafocus_rl.envs.problem import DecisionProblem
from adafocus_rl.envs.rewards import REWARDS, RewardConfig, RewardContext
from adafocus_rl.envs.rollout import FeaturePolicy, Info, Policy, PolicyOutput, Rollout, StepPolicy
from adafocus_rl.envs.single import FrameSelectionEnv, FrameSkippingEnv, PatchSelectionEnv
from adafocus_rl.envs.spaces import Observation, SpaceConfig
from adafocus_rl.envs.vector_env import DecisionVectorEnv

__all__ = [
    "REWARDS",
    "Counterfactuals",
    "DecisionProblem",
    "DecisionVectorEnv",
    "FeaturePolicy",
    "FindThePatchEnv",
    "FindThePatchVectorEnv",
    "FrameSelectionEnv",
    "FrameSelectionVectorEnv",
    "FrameSkippingEnv",
    "FrameSkippingVectorEnv",
    "Info",
    "LastCropVectorEnv",
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
