"""An agent's options: the keyword arguments of a registered class, as a recipe or a command line gives them."""

from __future__ import annotations

from adafocus_rl.agents.base import AGENTS
from adafocus_rl.plain import Option, options_of

GIVEN = ("env", "seed")
"""Arguments that are no options: whoever builds an agent gives them."""


def find_agent(name: str) -> str:
    """The registered name of an agent. Nothing is imported for it but what other installed packages announce.

    Args:
        name: it, or the dotted path of a registered class, as earlier versions printed it.

    Raises:
        UserError: no agent has this name.
    """
    module, _, short = name.rpartition(".")
    if module and short in AGENTS:
        owner = AGENTS.get(short).__module__
        if owner == module or owner.startswith(f"{module}."):
            return short
    AGENTS.get(name)
    return name


def agent_options(name: str) -> dict[str, Option]:
    """The options of a registered agent, by name.

    Raises:
        UserError: no agent has this name.
    """
    return options_of(AGENTS.get(name), skip=GIVEN)
