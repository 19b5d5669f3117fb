"""The reference of names and keys: what the registries hold, and the docstrings under the fields of their options."""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import pkgutil
import re
from collections.abc import Iterable, Iterator
from typing import Any, cast

from adafocus_rl.agents import AGENTS
from adafocus_rl.agents.methods import METHODS
from adafocus_rl.annotations import describe
from adafocus_rl.data import DATASETS
from adafocus_rl.envs import REWARDS
from adafocus_rl.experiments.config.embedded import maker_config
from adafocus_rl.experiments.config.experiment import ExperimentConfig
from adafocus_rl.experiments.config.key_help import field_docs, shown_default
from adafocus_rl.models import ENCODERS
from adafocus_rl.options import options_of

CHOSEN = ("agent", "methods", "skip.options")
"""Blocks whose keys depend on the names that are chosen; they have pages of their own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Key:
    """One key of a configuration."""

    name: str
    """The dotted key."""

    owner: str = ""
    """The class whose option it is; it makes the anchor unique."""

    kind: str
    """What it takes, in words."""

    default: str
    """Its default as a recipe spells it; empty if it must be given."""

    meaning: str
    """The docstring under the field."""

    @property
    def markdown(self) -> str:
        """An entry of a list of definitions, with the key as its anchor."""
        anchor = f"{self.owner}.{self.name}" if self.owner else self.name
        kind = f"{self.kind[:1].upper()}{self.kind[1:]}"
        default = f"; default: `{self.default}`" if self.default else "; required"
        return f"[`{self.name}`](#{anchor}){{ #{anchor} }}\n:   {self.meaning} *{kind}{default}.*\n\n"


def blocks(kind: type[Any], prefix: str = "", about: str = "") -> Iterator[tuple[str, str, list[Key]]]:
    """Yield the name, the meaning and the keys of a dataclass's own values, then those of the blocks within it.

    Args:
        kind: the dataclass.
        prefix: its dotted key with a dot behind it; empty for the whole configuration.
        about: the docstring under the field that holds it.
    """
    options, docs = options_of(kind), field_docs(kind)
    inner = {name: option.hint for name, option in options.items() if dataclasses.is_dataclass(option.hint)}
    own = [name for name in options if name not in inner and f"{prefix}{name}" not in CHOSEN]
    yield prefix.removesuffix("."), about, [_key(kind, name, prefix) for name in own if options[name].readable]
    for name, block in inner.items():
        if f"{prefix}{name}" not in CHOSEN:
            yield from blocks(cast("type[Any]", block), f"{prefix}{name}.", docs.get(name, ""))


def recipe_keys() -> str:
    """Return all keys of a recipe, in blocks."""
    parts = []
    for name, about, keys in blocks(ExperimentConfig):
        if keys:
            level = "#" * min(4, 2 + name.count("."))
            title = f"{level} `{name}`\n\n{about}" if name else "## The run"
            parts.append(f"{title}\n\n{''.join(key.markdown for key in keys)}")
    return "\n".join(parts)


def agents() -> str:
    """Return all agents with their options."""
    return _classes((name, AGENTS.get(name)) for name in AGENTS.names())


def methods() -> str:
    """Return all methods with their options."""
    return _classes((name, METHODS.get(name)) for name in METHODS.names())


def datasets() -> str:
    """Return the makers of embedded datasets with their options."""
    return "\n".join(
        f"### `{name}`\n\n{_summary(DATASETS.get(name))}\n\n{_options(maker_config(name), name)}"
        for name in DATASETS.names()
    )


def encoders() -> str:
    """Return the names of encoders and what each is."""
    return "".join(f"`{name}`\n:   {_summary(ENCODERS.get(name))}\n\n" for name in ENCODERS.names())


def rewards() -> str:
    """Return the names of rewards and what each is."""
    return "".join(f"`{name}`\n:   {_summary(REWARDS.get(name))}\n\n" for name in REWARDS.names())


def arguments(*places: str) -> str:
    """Return the keyword arguments of functions and classes, each once, with defaults and their docstrings' text.

    Args:
        *places: ``module:name`` of each; an argument of the first is not repeated for the others.
    """
    found: dict[str, str] = {}
    for place in places:
        entry = pkgutil.resolve_name(place)
        told = _args_section(inspect.getdoc(entry) or "")
        for parameter in inspect.signature(entry).parameters.values():
            if parameter.name in found or parameter.kind is parameter.VAR_KEYWORD or parameter.name not in told:
                continue
            value = parameter.default
            shown = str(value) if isinstance(value, enum.Enum) else repr(value)
            default = "Required" if value is parameter.empty else f"Default: `{shown}`"
            found[parameter.name] = f"`{parameter.name}`\n:   {_sentence(told[parameter.name])} *{default}.*\n\n"
    return "".join(found.values())


def _args_section(text: str) -> dict[str, str]:
    """Return the section ``Args`` of a Google docstring: by name, the text on one line."""
    found: dict[str, list[str]] = {}
    section = text.partition("\nArgs:\n")[2]
    for line in section.splitlines():
        if not line.startswith("    "):
            break
        if not line.startswith("     "):
            name, _, rest = line.strip().partition(": ")
            found[name] = [rest]
        else:
            found[[*found][-1]].append(line.strip())
    return {name: " ".join(lines) for name, lines in found.items()}


def _sentence(text: str) -> str:
    """Return a text that begins with a capital letter, unless it begins with a symbol, such as f_C."""
    return f"{text[0].upper()}{text[1:]}" if re.match(r"[a-z]{2,}|a ", text) else text


def _classes(entries: Iterable[tuple[str, Any]]) -> str:
    return "\n".join(
        f"## `{name}`\n\n{_summary(kind)}\n\n"
        + (f"In tables: `{kind.label}`\n\n" if isinstance(getattr(kind, "label", None), str) else "")
        + _options(kind.Options, name)
        for name, kind in entries
    )


def _options(kind: type[Any], owner: str) -> str:
    found = [dataclasses.replace(key, owner=owner).markdown for _, _, keys in blocks(kind) for key in keys]
    return "".join(found) or "It has no options.\n\n"


def _key(kind: type[Any], name: str, prefix: str) -> Key:
    option = options_of(kind)[name]
    default = "" if option.default is dataclasses.MISSING else shown_default(option.default)
    return Key(
        name=f"{prefix}{name}",
        kind=describe(option.hint),
        default=default,
        meaning=field_docs(kind).get(name, ""),
    )


def _summary(entry: Any) -> str:
    """Return the summary of a docstring: its first paragraph, on one line; of a bound call, also its arguments."""
    if isinstance(entry, functools.partial):
        return f"{_summary(entry.func)} Here: `{', '.join(map(str, entry.args))}`."
    return " ".join((inspect.getdoc(entry) or "").split("\n\n")[0].split())
