"""Names of a package that are imported when they are first used, so that importing the package takes no time.

torch and what is built on it take seconds to import. A package of this project therefore imports none of its modules:
its ``__init__.py`` lists the names that it offers, each with the module that defines it (PEP 562).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def on_demand(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package.

    Type checkers do not run them, so the package also imports the same names under ``TYPE_CHECKING``.

    Args:
        package: name of the package.
        modules: for each module, the names that the package offers from it.
    """
    module_of = {name: module for module, names in modules.items() for name in names}

    def __getattr__(name: str) -> Any:  # noqa: N807  # the name that Python gives it
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(module_of[name]), name)
        setattr(sys.modules[package], name, value)  # found without this function from now on
        return value

    def __dir__() -> list[str]:  # noqa: N807
        return sorted({*vars(sys.modules[package]), *module_of})

    return __getattr__, __dir__
