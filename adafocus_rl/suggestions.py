"""Suggestions for mistyped names ("did you mean …?")."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable


def nearest(
    name: str, known: Iterable[str], *, alike: float = 0.6, key: Callable[[str], str] = str.casefold
) -> str | None:
    """Return the known name closest to a mistyped one; None if none is close.

    Args:
        name: the mistyped name.
        known: the existing names.
        alike: smallest similarity of a suggestion, in (0, 1]; lower if the few names are all listed anyway.
        key: function of a name that is compared; by default case is ignored.
    """
    by_key: dict[str, str] = {}
    for each in known:
        by_key.setdefault(key(each), each)
    found = difflib.get_close_matches(key(name), by_key, n=1, cutoff=alike)
    return by_key[found[0]] if found else None
