"""Stable-Baselines3's algorithms as agents."""

from adafocus_rl.agents.sb3.agent import SB3Agent
from adafocus_rl.agents.sb3.options import SB3Options

__all__ = ["SB3Agent", "SB3Options"]
