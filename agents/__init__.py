"""Agents: PPO, Stable-Baselines3's algorithms, and agents that do not learn."""

from adafocus_rl.agents.base import AGENTS, Agent, PlannedAgent
from adafocus_rl.agents.fixed import CenterAgent, GaussianAgent, GaussianOptions, MotionAgent, OracleAgent, RandomAgent
from adafocus_rl.agents.heuristic import BestPatchAgent, HeuristicAgent, HeuristicOptions
from adafocus_rl.agents.ppo import PPOAgent, PPOOptions
from adafocus_rl.agents.recurrent import RecurrentAgent
from adafocus_rl.agents.sb3 import SB3Agent, SB3Options

__all__ = [
    "AGENTS",
    "Agent",
    "BestPatchAgent",
    "CenterAgent",
    "GaussianAgent",
    "GaussianOptions",
    "HeuristicAgent",
    "HeuristicOptions",
    "MotionAgent",
    "OracleAgent",
    "PPOAgent",
    "PPOOptions",
    "PlannedAgent",
    "RandomAgent",
    "RecurrentAgent",
    "SB3Agent",
    "SB3Options",
]
