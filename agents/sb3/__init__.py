"""Stable-Baselines3's algorithms as agents."""

from typing import TYPE_CHECKING

from adafocus_rl.on_demand import on_demand

if TYPE_CHECKING:
    from adafocus_rl.agents.sb3.agent import SB3Agent
    from adafocus_rl.agents.sb3.options import SB3Options
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "adafocus_rl.agents.sb3.agent": ["SB3Agent"],
            "adafocus_rl.agents.sb3.options": ["SB3Options"],
        },
    )

__all__ = ["SB3Agent", "SB3Options"]
