"""Stable-Baselines3's algorithms as agents."""

from adafocus_rl.agents.sb3.agent import SB3Agent

__all__ = ["SB3Agent"]
