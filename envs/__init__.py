"""Decision problems on frozen features (patch selection, frame skipping, frame selection) and their rewards."""

from typing import TYPE_CHECKING

from adafocus_rl.on_demand import on_demand

if TYPE_CHECKING:
    from adafocus_rl.envs.counterfactuals import Counterfactuals
    from adafocus_rl.envs.find_the_patch import FindThePatchEnv, FindThePatchVectorEnv
    from adafocus_rl.envs.frame_selection import FrameSelectionVectorEnv
    from adafocus_rl.envs.frame_skipping import FrameSkippingVectorEnv
    from adafocus_rl.envs.last_crop import LastCropVectorEnv
    from adafocus_rl.envs.numpy_adapter import NumpyVectorEnv, to_numpy
    from adafocus_rl.envs.options import RewardConfig, SpaceConfig
    from adafocus_rl.envs.patch_selection import PatchSelectionVectorEnv
    from adafocus_rl.envs.problem import DecisionProblem
    from adafocus_rl.envs.registry import REWARDS
    from adafocus_rl.envs.rewards import RewardContext
    from adafocus_rl.envs.rollout import FeaturePolicy, Info, Policy, PolicyOutput, Rollout, StepPolicy
    from adafocus_rl.envs.single import FrameSelectionEnv, FrameSkippingEnv, LastCropEnv, PatchSelectionEnv
    from adafocus_rl.envs.spaces import Observation
    from adafocus_rl.envs.vector_env import DecisionVectorEnv
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "adafocus_rl.envs.counterfactuals": ["Counterfactuals"],
            "adafocus_rl.envs.find_the_patch": ["FindThePatchEnv", "FindThePatchVectorEnv"],
            "adafocus_rl.envs.frame_selection": ["FrameSelectionVectorEnv"],
            "adafocus_rl.envs.frame_skipping": ["FrameSkippingVectorEnv"],
            "adafocus_rl.envs.last_crop": ["LastCropVectorEnv"],
            "adafocus_rl.envs.numpy_adapter": ["NumpyVectorEnv", "to_numpy"],
            "adafocus_rl.envs.options": ["RewardConfig", "SpaceConfig"],
            "adafocus_rl.envs.patch_selection": ["PatchSelectionVectorEnv"],
            "adafocus_rl.envs.problem": ["DecisionProblem"],
            "adafocus_rl.envs.registry": ["REWARDS"],
            "adafocus_rl.envs.rewards": ["RewardContext"],
            "adafocus_rl.envs.rollout": ["FeaturePolicy", "Info", "Policy", "PolicyOutput", "Rollout", "StepPolicy"],
            "adafocus_rl.envs.single": ["FrameSelectionEnv", "FrameSkippingEnv", "LastCropEnv", "PatchSelectionEnv"],
            "adafocus_rl.envs.spaces": ["Observation"],
            "adafocus_rl.envs.vector_env": ["DecisionVectorEnv"],
        },
    )

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
    "LastCropEnv",
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
