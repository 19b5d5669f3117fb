"""π's network by its name in the options."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from adafocus_rl.agents.policies.conv import ConvActorCritic
from adafocus_rl.agents.policies.networks import RecurrentActorCritic
from adafocus_rl.agents.policies.options import NetworkOptions
from adafocus_rl.geometry import PatchGrid

PolicyNetwork = RecurrentActorCritic | ConvActorCritic


def create_network(
    *,
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    grid: PatchGrid,
    options: NetworkOptions,
) -> PolicyNetwork:
    """Return a new network of the architecture ``options.network``, initialised from torch's global generator.

    Args:
        observation_space: space of one observation.
        action_space: space of one action.
        grid: the patches.
        options: architecture and sizes.

    Raises:
        UserError: if the architecture does not take these spaces.
    """
    if options.network == "conv":
        return ConvActorCritic(
            observation_space=observation_space, action_space=action_space, grid=grid, options=options
        )
    return RecurrentActorCritic(observation_space=observation_space, action_space=action_space, options=options)
