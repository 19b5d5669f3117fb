"""Keys of a recipe and their values, set one after another: first from files, then from the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast, get_args

from adafocus_rl.errors import UserError
from adafocus_rl.options import options_of
from adafocus_rl.plain import convert, convert_text, made, plain, unknown
from adafocus_rl.yaml_text import parse_yaml

ALL_KEYS = "`--print_config` shows all keys."


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Origin of a value: a file or the command line."""

    file: Path | None = None
    """The file that contains the value; None for the command line."""

    is_text: bool = False
    """Whether the value is text as typed, still to be converted by the key's annotation."""

    @property
    def prefix(self) -> str:
        """Prefix of a message: the file, or nothing."""
        return f"{self.file}: " if self.file else ""


class Part(Protocol):
    """A part of a configuration, under one key."""

    def set(self, path: str, value: Any, origin: Origin) -> None:
        """Set the value of a key below; an empty path means the part itself."""

    def build(self) -> Any:
        """Return the typed value."""

    def plain(self) -> Any:
        """Return plain data from which ``set`` restores an equal value."""


class Block:
    """The keys of a dataclass, some of which may be blocks themselves.

    Args:
        kind: the dataclass.
        key: the dotted key of the block; empty for the whole configuration.
        values: initial typed values, by name.
        parts: parts to use under some dotted keys instead of values or blocks.
        whose: owner of the options, for messages: ``PPOAgent``; empty for a configuration's own keys.
        top: the block whose keys a message suggests; None for this one.

    Attributes:
        hints: the annotation of each value, by name.
        values: the current typed values, by name.
        parts: the parts, by name.
    """

    def __init__(
        self,
        kind: type[Any],
        key: str = "",
        *,
        values: Mapping[str, Any],
        parts: Mapping[str, Part] | None = None,
        whose: str = "",
        top: Block | None = None,
    ) -> None:
        self.kind, self.key, self.whose = kind, key, whose
        self.hints: dict[str, Any] = {}
        self.values: dict[str, Any] = {}
        self.parts: dict[str, Part] = {}
        self._top = top or self
        for name, option in options_of(kind).items():
            dotted = _join(key, name)
            if parts and dotted in parts:
                self.parts[name] = parts[dotted]
            elif dataclasses.is_dataclass(option.hint):
                inner = vars(values[name]) if name in values else {}
                self.parts[name] = Block(
                    cast("type[Any]", option.hint), dotted, values=inner, parts=parts, top=self._top
                )
            else:
                self.hints[name] = option.hint
                self.values.update({name: values[name]} if name in values else {})

    def leaves(self) -> Iterator[tuple[str, Any]]:
        """Yield the dotted key and the annotation of each value, in order; another kind of part counts as one value."""
        for name in options_of(self.kind):
            part = self.parts.get(name)
            if isinstance(part, Block) and part._top is self._top:
                yield from part.leaves()
            else:
                yield _join(self.key, name), self.hints.get(name, dict[str, Any])

    def set(self, path: str, value: Any, origin: Origin) -> None:
        """Set the value of ``path``, append to a list (``path+``), or set an entry of a mapping (``path.NAME``).

        Raises:
            UserError: if the key is unknown, the type is wrong, the command line gives no value, or a plain value is
                given for a block.
        """
        name, dot, rest = path.partition(".")
        leaf = self._leaf(path)
        if not path:
            self._set_all(value, origin)
        elif name in self.parts and (rest or not dot):
            self.parts[name].set(rest, value, origin)
        elif leaf is None:
            raise UserError(self._top.unknown(_join(self.key, path), value, origin))
        else:
            key = _join(self.key, path)
            expect_text(key, value, origin)
            self.values[leaf] = _changed(
                self.values.get(leaf), self.hints[leaf], _join(self.key, leaf), key, value, from_text=origin.is_text
            )

    def block(self, path: str) -> Block:
        """Return the block under a dotted path."""
        found: Any = self
        for name in path.split("."):
            found = found.parts[name]
        return cast("Block", found)

    def build(self) -> Any:
        """Return an instance of the dataclass.

        Raises:
            UserError: if a value is missing or out of range.
        """
        return made(self.kind, {**self.values, **{name: part.build() for name, part in self.parts.items()}}, self.key)

    def plain(self) -> dict[str, Any]:
        """Return the current values as plain data, in the order of the fields."""
        return {
            name: self.parts[name].plain() if name in self.parts else plain(self.values[name])
            for name in options_of(self.kind)
            if name in self.parts or name in self.values
        }

    def unknown(self, key: str, value: Any, origin: Origin) -> str:
        """Return a message for an unknown dotted key, which suggests the nearest known key."""
        known = [leaf for leaf, _ in self.leaves()]
        if self.whose:
            return unknown(key, known, whose=self.whose)
        if origin.is_text:
            return unknown(f"--{key}", [f"--{leaf}" for leaf in known], otherwise=ALL_KEYS)
        # Name the first key within the block: a near match is easier to find for it than for the block's name.
        while isinstance(value, Mapping) and value:
            name, value = next(iter(value.items()))
            key = f"{key}.{name}"
        return unknown(key, known, otherwise=ALL_KEYS)

    def _set_all(self, value: Any, origin: Origin) -> None:
        expect_text(self.key, value, origin)
        content = parse_yaml(value, f"--{self.key}") if origin.is_text else value
        if not isinstance(content, Mapping):
            names = ", ".join(options_of(self.kind))
            advice = f"a block with some of the keys {names}" if names else "an empty block: {}"
            if origin.is_text:
                advice = f"a block of keys, or one of them as --{self.key}.KEY=VALUE"
            raise UserError(f"{origin.prefix}{self.key} is {value!r}; give {advice}")
        for name, entry in content.items():
            self.set(str(name), entry, Origin(file=origin.file))

    def _leaf(self, path: str) -> str | None:
        """Return the name of the value that ``path`` sets, appends to, or sets an entry of; None if there is none."""
        name, dot, _ = path.partition(".")
        if path.removesuffix("+") in self.hints:
            return path.removesuffix("+")
        return name if dot and name in self.hints and _takes_block(self.hints[name]) else None


def expect_text(key: str, value: Any, origin: Origin) -> None:
    """Check that a key of the command line has a value.

    Raises:
        UserError: if it has none.
    """
    if origin.is_text and value is None:
        raise UserError(f"argument --{key}: expected one argument; write --{key}=VALUE")


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _takes_block(hint: Any) -> bool:
    kinds = (hint, *get_args(hint))
    return any(kind is dict or kind is Any or getattr(kind, "__origin__", None) is dict for kind in kinds)


def _changed(before: Any, hint: Any, leaf: str, key: str, value: Any, *, from_text: bool) -> Any:
    """Return the value of ``leaf`` after setting ``key``: the key itself, ``KEY+``, or an entry ``KEY.NAME``."""
    if key == leaf:
        return (convert_text if from_text else convert)(value, hint, leaf)
    if key.endswith("+"):
        added = parse_yaml(value, leaf) if from_text else value
        added = added if isinstance(added, list) else [added]
        return convert([*(plain(before) if isinstance(before, (list, tuple)) else []), *added], hint, leaf)
    whole: dict[str, Any] = plain(before) if isinstance(before, Mapping) else {}
    block, (*path, last) = whole, key[len(leaf) + 1 :].split(".")
    for name in path:
        if not isinstance(block.get(name), dict):
            block[name] = {}
        block = block[name]
    block[last] = convert_text(value, Any, key) if from_text else value
    return convert(whole, hint, leaf)
