"""Type annotations of options: whether plain data can satisfy one, and how to describe it in words."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

LISTS = (list, Sequence, Iterable)
"""Annotations for lists of any length."""

BLOCKS = (dict, Mapping)
"""Annotations for mappings from names to values."""

SCALARS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
}
"""Annotations for single values, with their description."""


class Unreadable:
    """Placeholder for an annotation that cannot be evaluated."""


def annotation_of(init: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Evaluate the annotation of one parameter; other parameters may use names that only type checkers know."""
    if parameter.annotation is parameter.empty:
        return Any
    one = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return get_type_hints(one, globalns=getattr(init, "__globals__", {}))[parameter.name]
    except Exception:  # evaluating another package's annotation may raise anything
        return Unreadable


def is_readable(hint: Any) -> bool:
    """Return whether plain data can satisfy an annotation."""
    hint, origin, inner = taken_apart(hint)
    if origin is Union:
        return any(is_readable(part) for part in inner)
    if hint is Any or origin is Literal or among(hint, SCALARS) or hint is Path:
        return True
    if origin is tuple or among(origin, LISTS):
        return all(part is ... or is_readable(part) for part in inner)
    if among(origin, BLOCKS):
        return among(inner[0], (str, Any)) and is_readable(inner[1])
    return isinstance(hint, type) and (issubclass(hint, enum.Enum) or dataclasses.is_dataclass(hint))


def describe(hint: Any) -> str:
    """Describe in words what an annotation accepts: "a whole number or null"."""
    hint, origin, inner = taken_apart(hint)
    if origin is Union:
        return " or ".join(describe(part) for part in inner if is_readable(part) or not is_readable(hint))
    if among(hint, SCALARS):
        return SCALARS[hint]
    if origin is Literal:
        return f"one of {', '.join(map(repr, inner))}"
    if origin is tuple and ... not in inner:
        return f"a list of {len(inner)}, each {describe(inner[0])}" if inner else "an empty list"
    if origin is tuple or among(origin, LISTS):
        return f"a list, each {describe(inner[0])}" if inner[0] is not Any else "a list"
    if hint is Any:
        return "a plain value"
    if hint is Path:
        return "a path"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return f"one of {', '.join(map(repr, hint.__members__))}"
    if among(origin, BLOCKS) or (isinstance(hint, type) and dataclasses.is_dataclass(hint)):
        return "a block"
    if hint is Unreadable:
        return "something whose annotation cannot be read"
    return getattr(hint, "__name__", None) or str(hint).replace("typing.", "")


def taken_apart(hint: Any) -> tuple[Any, Any, tuple[Any, ...]]:
    """Split an annotation into its bare form, its origin (``Union`` for both notations of a union), and its arguments.

    ``Annotated``, type aliases and ``NewType`` are unwrapped.
    """
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        else:
            break
    if hint is None:
        hint = type(None)
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if origin is types.UnionType:
        origin = Union
    if origin is tuple:
        inner = inner or (Any, ...)
    elif among(origin, LISTS):
        inner = inner or (Any,)
    elif among(origin, BLOCKS):
        inner = inner or (str, Any)
    return hint, origin, inner


def among(hint: Any, kinds: Iterable[Any]) -> bool:
    """Return whether ``hint`` is one of ``kinds``, by identity: an annotation may lack a hash or override ``==``."""
    return any(hint is kind for kind in kinds)
