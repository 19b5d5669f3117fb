"""Recurrent proximal policy optimisation for π."""

from adafocus_rl.agents.ppo.agent import PPOAgent
from adafocus_rl.agents.ppo.options import PPOOptions

__all__ = ["PPOAgent", "PPOOptions"]
