"""Which class a checkpoint of an agent or a method was saved by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from adafocus_rl import checkpoint
from adafocus_rl.errors import UserError
from adafocus_rl.plain import convert
from adafocus_rl.registry import Registry

T = TypeVar("T")

ARTICLES = {"agent": "an agent", "method": "a method"}


def saved_class(
    path: str | Path,
    manifest: Mapping[str, Any],
    kind: Literal["agent", "method"],
    cls: type[T],
    registry: Registry[type[T]],
) -> type[T]:
    """Return the class that saved a checkpoint: ``cls`` itself, or a registered subclass.

    Args:
        path: the checkpoint, for messages.
        manifest: its manifest.
        kind: what the checkpoint must hold.
        cls: the class whose ``load`` was called. It need not be registered.
        registry: the registered classes.

    Raises:
        UserError: if the checkpoint holds something else, or was saved by another class.
    """
    if manifest.get("kind") != kind:
        raise UserError(f"{path} is a checkpoint of kind {manifest.get('kind')!r}, not of {ARTICLES[kind]}")
    with checkpoint.reading(path):
        name = convert(manifest[kind], str, f"the {kind} of {path}")
    found = cls if name == cls.__name__ else registry.get(name)
    if not issubclass(found, cls):
        raise UserError(f"{path} holds a {name}; load it with {name}.load or {kind.capitalize()}.load")
    return found
