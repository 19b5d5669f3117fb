"""Recurrent proximal policy optimisation for π."""

from typing import TYPE_CHECKING

from adafocus_rl.on_demand import on_demand

if TYPE_CHECKING:
    from adafocus_rl.agents.ppo.agent import PPOAgent
    from adafocus_rl.agents.ppo.options import PPOOptions
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "adafocus_rl.agents.ppo.agent": ["PPOAgent"],
            "adafocus_rl.agents.ppo.options": ["PPOOptions"],
        },
    )

__all__ = ["PPOAgent", "PPOOptions"]
