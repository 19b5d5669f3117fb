"""Who decides: PPO, Stable-Baselines3's algorithms, and agents that do not learn."""

from adafocus_rl.agents.base import AGENTS, Agent, PlannedAgent, RecurrentAgent
from adafocus_rl.agents.fixed import CenterAgent, GaussianAgent, MotionAgent, OracleAgent, RandomAgent
from adafocus_rl.agents.heuristic import BestPatchAgent, HeuristicAgent
from adafocus_rl.agents.ppo import PPOAgent
from adafocus_rl.agents.sb3 import SB3Agent

__all__ = [
    "AGENTS",
    "Agent",
    "BestPatchAgent",
    "CenterAgent",
    "GaussianAgent",
    "HeuristicAgent",
    "MotionAgent",
    "OracleAgent",
    "PPOAgent",
    "PlannedAgent",
    "RandomAgent",
    "RecurrentAgent",
    "SB3Agent",
]
