"""The reference of names in Python: a heading of mkdocstrings for each name that a package offers."""

from __future__ import annotations

import importlib


def package(name: str) -> str:
    """Return an entry for each name in a package's ``__all__``."""
    module = importlib.import_module(name)
    summary = (module.__doc__ or "").strip()
    entries = "".join(f"::: {name}.{one}\n    options:\n      heading_level: 3\n\n" for one in module.__all__)
    return f"{summary}\n\n{entries}"
