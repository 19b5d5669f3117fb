"""Recurrent proximal policy optimisation for π."""

from adafocus_rl.agents.ppo.agent import PPOAgent
from adafocus_rl.agents.ppo.networks import RecurrentActorCritic

__all__ = ["PPOAgent", "RecurrentActorCritic"]
