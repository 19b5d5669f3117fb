"""The generated parts of pages, by name."""

from __future__ import annotations

import re

from website import api, commands, keys

PARTS = {
    "keys": keys.recipe_keys,
    "agents": keys.agents,
    "methods": keys.methods,
    "datasets": keys.datasets,
    "encoders": keys.encoders,
    "rewards": keys.rewards,
    "arguments": keys.arguments,
    "commands": commands.commands,
    "api": api.package,
}
"""By name in ``<!-- generated: NAME ARGUMENT … -->``: the function that returns the Markdown to insert there."""

MARK = re.compile(r"^<!-- generated: (\w+)((?: \S+)*) -->$", re.MULTILINE)
"""The mark of a part: a line of its own. A page on GitHub shows nothing there."""


def insert(text: str) -> str:
    """Return a page with its generated parts.

    Raises:
        KeyError: if there is no part of this name.
    """
    return MARK.sub(lambda mark: PARTS[mark[1]](*mark[2].split()), text)
