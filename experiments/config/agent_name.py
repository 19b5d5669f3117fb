"""Names of agents as typed: ``PPOAgent``, its label ``ppo``, or either with options, ``ppo:gamma=0.9,cell=none``."""

from __future__ import annotations

import re

from adafocus_rl.agents import AGENTS
from adafocus_rl.errors import UserError


def split_agent(text: str) -> tuple[str, dict[str, str]]:
    """Return the name in ``NAME:KEY=VALUE,KEY=VALUE`` and the options, as typed; none without a colon.

    Raises:
        UserError: if an option has no value.
    """
    name, _, rest = text.partition(":")
    options = {}
    # A comma inside a value, such as a list, is not followed by `key=`.
    for option in re.split(r",(?=\s*\w+=)", rest) if rest else ():
        key, separator, value = option.strip().partition("=")
        if not separator or not key:
            raise UserError(f"{text!r} has the option {option!r}; write NAME:KEY=VALUE,KEY=VALUE")
        options[key] = value
    return name, options


def find_agent(name: str) -> str:
    """Return the registered name of an agent.

    Args:
        name: that name; the agent's label in tables, such as ``center``; or the dotted path of its class, as in files
            of earlier versions. The path is never imported; only the plug-ins that installed packages register may be.

    Raises:
        UserError: if no agent has this name.
    """
    module, _, short = name.rpartition(".")
    if module and short in AGENTS:
        owner = AGENTS.get(short).__module__
        if owner == module or owner.startswith(f"{module}."):
            return short
    if name not in AGENTS:
        same = [known for known in AGENTS if label_like(known) == name.replace("_", "")]
        if len(same) == 1:
            return same[0]
    AGENTS.get(name)
    return name


def label_like(name: str) -> str:
    """Return the label of a registered name without its underscores: ``bestpatch`` for ``BestPatchAgent``."""
    return name.removesuffix("Agent").lower()
