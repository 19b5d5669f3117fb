"""π's network, and agents that learn with it: how they act, sample and save."""

from typing import TYPE_CHECKING

from adafocus_rl.on_demand import on_demand

if TYPE_CHECKING:
    from adafocus_rl.agents.policies.agent import PolicyAgent
    from adafocus_rl.agents.policies.networks import RecurrentActorCritic
    from adafocus_rl.agents.policies.options import EntropyOptions, NetworkOptions, PolicyOptions
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "adafocus_rl.agents.policies.agent": ["PolicyAgent"],
            "adafocus_rl.agents.policies.networks": ["RecurrentActorCritic"],
            "adafocus_rl.agents.policies.options": ["EntropyOptions", "NetworkOptions", "PolicyOptions"],
        },
    )

__all__ = ["EntropyOptions", "NetworkOptions", "PolicyAgent", "PolicyOptions", "RecurrentActorCritic"]
