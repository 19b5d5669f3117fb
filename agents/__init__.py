"""Agents: PPO, learners from the outcomes of all actions, Stable-Baselines3's algorithms, and fixed rules."""

from adafocus_rl.agents.all_actions import AllActionsAgent, AllActionsOptions
from adafocus_rl.agents.base import AGENTS, Agent
from adafocus_rl.agents.distil import DistilAgent, DistilOptions
from adafocus_rl.agents.fixed import CenterAgent, GaussianAgent, GaussianOptions, MotionAgent, OracleAgent, RandomAgent
from adafocus_rl.agents.grpo import GRPOAgent, GRPOOptions
from adafocus_rl.agents.heuristic import HeuristicAgent, HeuristicOptions
from adafocus_rl.agents.map_crop import MapCropAgent
from adafocus_rl.agents.oracles import BestPatchAgent, LeastEntropyAgent, MostConfidentAgent, OracleOptions
from adafocus_rl.agents.planned import PlannedAgent
from adafocus_rl.agents.policies import PolicyAgent, PolicyOptions
from adafocus_rl.agents.ppo import PPOAgent, PPOOptions
from adafocus_rl.agents.recurrent import RecurrentAgent
from adafocus_rl.agents.sb3 import SB3Agent, SB3Options
from adafocus_rl.agents.soft_patch import SoftPatchAgent, SoftPatchOptions

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
