"""Registries of classes and functions that a recipe or a command line selects by name.

A registry names the place of each built-in entry, ``module:name``, as Gymnasium's does. An entry is imported when it is
first used, so that listing names does not import torch. Other packages declare theirs as entry points (groups
``adafocus_rl.agents``, ``adafocus_rl.methods``, ``adafocus_rl.encoders``, ``adafocus_rl.datasets``,
``adafocus_rl.rewards``). These are imported when the registry is first searched for a name that is not built in, or
lists its names.
"""

from __future__ import annotations

import pkgutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from adafocus_rl.errors import UserError
from adafocus_rl.suggestions import nearest

T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True)
class _NotImported:
    """An entry that has not been imported yet."""

    place: str
    """``module:name``."""


class Registry(Generic[T]):
    """A mapping from names to entries of one kind.

    Example:
        >>> GREETINGS: Registry[str] = Registry("greeting")
        >>> _ = GREETINGS.register("morning")("good morning")
        >>> GREETINGS.get("morning")
        'good morning'

    Args:
        kind: what an entry is, in the singular, for messages ("encoder").
        group: entry-point group of other packages' entries; None for a closed registry.
        entries: entries of this package, each as ``module:name``.
    """

    def __init__(self, kind: str, group: str | None = None, entries: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self.group = group
        self._entries: dict[str, T | _NotImported] = {
            name: _NotImported(place) for name, place in (entries or {}).items()
        }
        self._group_loaded = False

    def register(self, name: str) -> Callable[[S], S]:
        """Return a decorator that registers a class, function or value under ``name`` and returns it unchanged.

        The decorated object must be a T. A free type variable keeps its own type, so that type checkers still see a
        registered class as that class.

        Raises:
            ValueError: another object already has this name; a silent replacement would change results.
        """

        def decorator(entry: S) -> S:
            self._add(name, entry)  # type: ignore[arg-type]
            return entry

        return decorator

    def names(self) -> list[str]:
        """Return all names, sorted."""
        self._load_group()
        return sorted(self._entries)

    def get(self, name: str) -> T:
        """Return the entry with this name.

        Raises:
            UserError: no entry has this name; the message suggests the closest one and lists all.
        """
        # Other packages are imported only for a name that is not built in.
        if name not in self._entries:
            self._load_group()
        if name in self._entries:
            return self._imported(name)
        known = self.names()
        near = nearest(name, known, alike=0.5)
        meant = f"; did you mean {near!r}?" if near else "."
        raise UserError(
            f"unknown {self.kind} {name!r}{meant} Choose one of: {', '.join(known) or 'none is registered'}"
        )

    def __contains__(self, name: object) -> bool:
        if name in self._entries:
            return True
        self._load_group()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def _add(self, name: str, entry: T) -> None:
        present = self._imported(name) if name in self._entries else entry
        if present is not entry:
            raise ValueError(f"{self.kind} {name!r} is registered twice: as {present!r} and as {entry!r}")
        self._entries[name] = entry

    def _imported(self, name: str) -> T:
        entry = self._entries[name]
        if isinstance(entry, _NotImported):
            entry = self._entries[name] = pkgutil.resolve_name(entry.place)
        return entry

    def _load_group(self) -> None:
        if self.group is None or self._group_loaded:
            return
        # Set first, so that a plug-in that searches the registry during its import does not recurse.
        self._group_loaded = True
        for point in entry_points(group=self.group):
            try:
                self._add(point.name, point.load())
            except Exception as error:
                # A broken plug-in must not disable the others or this package.
                owner = point.dist.name if point.dist is not None else "an unknown package"
                warnings.warn(
                    f"{self.kind} {point.name!r} ({point.value}) of {owner} is left out, it failed to load: "
                    f"{type(error).__name__}: {error}",
                    RuntimeWarning,
                    stacklevel=3,
                )
