"""π's network, and agents that learn with it: how they act, sample and save."""

from adafocus_rl.agents.policies.agent import PolicyAgent
from adafocus_rl.agents.policies.networks import RecurrentActorCritic
from adafocus_rl.agents.policies.options import EntropyOptions, NetworkOptions, PolicyOptions

__all__ = ["EntropyOptions", "NetworkOptions", "PolicyAgent", "PolicyOptions", "RecurrentActorCritic"]
