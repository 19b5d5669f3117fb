"""Who decides: PPO, and agents that do not learn."""

from adafocus_rl.agents.base import AGENTS, Agent, PlannedAgent
from adafocus_rl.agents.fixed import CenterAgent, GaussianAgent, OracleAgent, RandomAgent
from adafocus_rl.agents.heuristic import BestPatchAgent, HeuristicAgent
from adafocus_rl.agents.ppo import PPOAgent

__all__ = [
    "AGENTS",
    "Agent",
    "BestPatchAgent",
    "CenterAgent",
    "GaussianAgent",
    "HeuristicAgent",
    "OracleAgent",
    "PPOAgent",
    "PlannedAgent",
    "RandomAgent",
]
