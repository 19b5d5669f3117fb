"""Agents: PPO, learners from the outcomes of all actions, Stable-Baselines3's algorithms, and fixed rules."""

from typing import TYPE_CHECKING

from adafocus_rl.on_demand import on_demand

if TYPE_CHECKING:
    from adafocus_rl.agents.all_actions import AllActionsAgent, AllActionsOptions
    from adafocus_rl.agents.base import Agent
    from adafocus_rl.agents.distil import DistilAgent, DistilOptions
    from adafocus_rl.agents.fixed import (
        CenterAgent,
        GaussianAgent,
        GaussianOptions,
        MotionAgent,
        OracleAgent,
        RandomAgent,
    )
    from adafocus_rl.agents.grpo import GRPOAgent
    from adafocus_rl.agents.grpo_options import GRPOOptions
    from adafocus_rl.agents.heuristic import HeuristicAgent, HeuristicOptions
    from adafocus_rl.agents.map_crop import MapCropAgent
    from adafocus_rl.agents.oracles import BestPatchAgent, LeastEntropyAgent, MostConfidentAgent, OracleOptions
    from adafocus_rl.agents.planned import PlannedAgent
    from adafocus_rl.agents.policies import PolicyAgent, PolicyOptions
    from adafocus_rl.agents.ppo import PPOAgent, PPOOptions
    from adafocus_rl.agents.recurrent import RecurrentAgent
    from adafocus_rl.agents.registry import AGENTS
    from adafocus_rl.agents.sb3 import SB3Agent, SB3Options
    from adafocus_rl.agents.soft_patch import SoftPatchAgent, SoftPatchOptions
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "adafocus_rl.agents.all_actions": ["AllActionsAgent", "AllActionsOptions"],
            "adafocus_rl.agents.base": ["Agent"],
            "adafocus_rl.agents.distil": ["DistilAgent", "DistilOptions"],
            "adafocus_rl.agents.fixed": [
                "CenterAgent",
                "GaussianAgent",
                "GaussianOptions",
                "MotionAgent",
                "OracleAgent",
                "RandomAgent",
            ],
            "adafocus_rl.agents.grpo": ["GRPOAgent"],
            "adafocus_rl.agents.grpo_options": ["GRPOOptions"],
            "adafocus_rl.agents.heuristic": ["HeuristicAgent", "HeuristicOptions"],
            "adafocus_rl.agents.map_crop": ["MapCropAgent"],
            "adafocus_rl.agents.oracles": [
                "BestPatchAgent",
                "LeastEntropyAgent",
                "MostConfidentAgent",
                "OracleOptions",
            ],
            "adafocus_rl.agents.planned": ["PlannedAgent"],
            "adafocus_rl.agents.policies": ["PolicyAgent", "PolicyOptions"],
            "adafocus_rl.agents.ppo": ["PPOAgent", "PPOOptions"],
            "adafocus_rl.agents.recurrent": ["RecurrentAgent"],
            "adafocus_rl.agents.registry": ["AGENTS"],
            "adafocus_rl.agents.sb3": ["SB3Agent", "SB3Options"],
            "adafocus_rl.agents.soft_patch": ["SoftPatchAgent", "SoftPatchOptions"],
        },
    )

__all__ = [
    "AGENTS",
    "Agent",
    "AllActionsAgent",
    "AllActionsOptions",
    "BestPatchAgent",
    "CenterAgent",
    "DistilAgent",
    "DistilOptions",
    "GRPOAgent",
    "GRPOOptions",
    "GaussianAgent",
    "GaussianOptions",
    "HeuristicAgent",
    "HeuristicOptions",
    "LeastEntropyAgent",
    "MapCropAgent",
    "MostConfidentAgent",
    "MotionAgent",
    "OracleAgent",
    "OracleOptions",
    "PPOAgent",
    "PPOOptions",
    "PlannedAgent",
    "PolicyAgent",
    "PolicyOptions",
    "RandomAgent",
    "RecurrentAgent",
    "SB3Agent",
    "SB3Options",
    "SoftPatchAgent",
    "SoftPatchOptions",
]
