"""Puts the code of a changed module into the module that everything has imported already."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any


def transplant(module: ModuleType, code: CodeType) -> None:
    """Make a module, its classes and functions do what other code says, wherever they have been imported.

    Functions keep their identity and get another body and other defaults. Constants are replaced, also where another
    module has imported them by name.

    Args:
        module: the imported module.
        code: the whole changed module.

    Raises:
        Exception: whatever the changed module raises while it is executed.
    """
    other = ModuleType(module.__name__)
    other.__file__ = module.__file__
    # Dataclasses look their module up by its name.
    sys.modules[module.__name__] = other
    try:
        exec(code, vars(other))
    finally:
        sys.modules[module.__name__] = module
    _move(module, other, module.__name__)


def _move(old: Any, new: Any, name: str) -> None:
    """Move what differs between two modules, or two classes, of the same names."""
    for key, value in list(vars(new).items()):
        if key.startswith("__") and not callable(value):
            continue
        before = vars(old).get(key)
        functions = list(zip(_functions(before), _functions(value), strict=True))
        if functions:
            for one, other in functions:
                if one.__module__ == name:
                    one.__code__, one.__defaults__, one.__kwdefaults__ = (
                        other.__code__,
                        other.__defaults__,
                        other.__kwdefaults__,
                    )
            if hasattr(before, "cache_clear"):
                before.cache_clear()
        elif isinstance(value, type):
            if value.__module__ == name and isinstance(before, type) and value is not before:
                _move(before, value, name)
        elif isinstance(value, bool | int | float | str | tuple | frozenset) and value != before:
            _replace(old, key, before, value)


def _replace(old: Any, key: str, before: object, value: object) -> None:
    setattr(old, key, value)
    if isinstance(old, ModuleType):
        for module in list(sys.modules.values()):
            if isinstance(module, ModuleType) and vars(module).get(key) is before:
                setattr(module, key, value)


def _functions(value: Any) -> Iterator[FunctionType]:
    """Yield the functions that an attribute runs: those of a property, and what decorators have wrapped."""
    parts: list[Callable[..., Any] | None] = [value]
    if isinstance(value, property):
        parts = [value.fget, value.fset]
    elif isinstance(value, functools.cached_property):
        parts = [value.func]
    elif isinstance(value, staticmethod | classmethod):
        parts = [value.__func__]
    for part in parts:
        while hasattr(part, "__wrapped__"):
            part = part.__wrapped__
        if isinstance(part, FunctionType):
            yield part
