"""Did you mean …? The name that a mistaken one is most like."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable


def nearest(
    name: str, known: Iterable[str], *, alike: float = 0.6, key: Callable[[str], str] = str.casefold
) -> str | None:
    """The known name that is most like a mistaken one; None when none is near.

    Args:
        name: what was got.
        known: what exists.
        alike: similarity that a suggestion needs, in (0, 1]; lower where there are few names and all are listed anyway.
        key: what is compared of a name; capital letters as small ones by default.
    """
    by_key: dict[str, str] = {}
    for each in known:
        by_key.setdefault(key(each), each)
    found = difflib.get_close_matches(key(name), by_key, n=1, cutoff=alike)
    return by_key[found[0]] if found else None
