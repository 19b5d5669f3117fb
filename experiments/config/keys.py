"""The keys of a recipe and their values, set one after another: a file's, then those of the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

from adafocus_rl.agents import AGENTS
from adafocus_rl.annotations import is_readable
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.experiment import AgentConfig, ExperimentConfig
from adafocus_rl.experiments.config.limits import check_limits
from adafocus_rl.options import Option, options_of
from adafocus_rl.plain import convert, convert_text, made, plain, unknown
from adafocus_rl.yaml_text import parse_yaml


def leaves(kind: type[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys of a dataclass of dataclasses, in order, with the annotation of each value."""
    for name, hint in get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            yield from leaves(cast("type[Any]", hint), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", hint


class Keys:
    """What has been said so far, beginning with the defaults; what is said later wins.

    Attributes:
        hints: the annotation of each dotted key.
        values: the typed value of each.
    """

    def __init__(self) -> None:
        self.hints = dict(leaves(ExperimentConfig))
        self.values: dict[str, Any] = {}
        for key in self.hints:
            value: Any = _DEFAULTS
            for name in key.split("."):
                value = getattr(value, name)
            self.values[key] = value
        self._blocks = {key[:end] for key in self.hints for end, letter in enumerate(key) if letter == "."}
        self._agent = AgentKeys()

    def set_all(self, content: Mapping[str, Any], path: Path) -> None:
        """Takes what a file says.

        Raises:
            UserError: unknown key, wrong type, or a plain value where a block belongs.
        """
        for key, value in content.items():
            self._set(key, value, path)

    def set_text(self, key: str, text: str | None) -> None:
        """Takes one ``--KEY=TEXT``; None for a missing text.

        Raises:
            UserError: unknown key, wrong type, or no text.
        """
        known = [f"--{each}" for each in (*self.hints, "agent")]
        top, _, inner = key.partition(".")
        if top != "agent" and key not in self._blocks and self._leaf(key) is None:
            raise UserError(unknown(f"--{key}", known, otherwise=_ALL_KEYS))
        if text is None:
            raise UserError(f"argument --{key}: expected one argument; write --{key}=VALUE")
        if top == "agent":
            self._agent.set_text(inner, text)
        elif key in self._blocks:
            block = parse_yaml(text, f"--{key}")
            if not isinstance(block, Mapping):
                raise UserError(f"{key} is {text!r}; give a block of keys, or one of them as --{key}.KEY=VALUE")
            for name, value in block.items():
                self._set(f"{key}.{name}", value, None)
        else:
            self._set_leaf(key, text, from_text=True)

    def config(self) -> ExperimentConfig:
        """All but the agent.

        Raises:
            UserError: a value out of range.
        """
        check_limits(self.values)
        config: ExperimentConfig = self._built(ExperimentConfig, "")
        return config

    def agent(self) -> AgentConfig:
        """The agent.

        Raises:
            UserError: an option that it needs is missing.
        """
        return self._agent.config()

    def _built(self, kind: type[Any], prefix: str) -> Any:
        parts: dict[str, Any] = {}
        for name, hint in get_type_hints(kind).items():
            is_block = dataclasses.is_dataclass(hint)
            parts[name] = (
                self._built(cast("type[Any]", hint), f"{prefix}{name}.") if is_block else self.values[prefix + name]
            )
        return kind(**parts)

    def _set(self, key: str, value: Any, path: Path | None) -> None:
        top, _, inner = key.partition(".")
        if top == "agent":
            self._agent.set(inner, value, f"{path}: " if path else "")
        elif key in self._blocks:
            if not isinstance(value, Mapping):
                start = f"{key}."
                names = dict.fromkeys(each[len(start) :].split(".")[0] for each in self.hints if each.startswith(start))
                where = f"{path}: " if path else ""
                raise UserError(f"{where}{key} is {value!r}; give a block with some of the keys {', '.join(names)}")
            for name, entry in value.items():
                self._set(f"{key}.{name}", entry, path)
        elif self._leaf(key) is None:
            # The first key within, which is the more telling one of a block whose name is nearly right.
            while isinstance(value, Mapping) and value:
                name, value = next(iter(value.items()))
                key = f"{key}.{name}"
            raise UserError(unknown(key, [*self.hints, "agent"], otherwise=_ALL_KEYS))
        else:
            self._set_leaf(key, value, from_text=False)

    def _leaf(self, key: str) -> str | None:
        """The key of the value that ``key`` is, adds to (``KEY+``), or is an entry of (``KEY.NAME``)."""
        return _leaf_of(key, self.hints)

    def _set_leaf(self, key: str, value: Any, *, from_text: bool) -> None:
        leaf = self._leaf(key) or key
        self.values[leaf] = _changed(self.values[leaf], self.hints[leaf], leaf, key, value, from_text=from_text)


class AgentKeys:
    """Which agent, and its options; another class keeps the options that it has, too."""

    def __init__(self) -> None:
        self._name = AgentConfig().name
        self._options = _agent_options(self._name)
        self._values = _defaults(self._options)

    def config(self) -> AgentConfig:
        """What has been said.

        Raises:
            UserError: an option that the class needs is missing.
        """
        for key, option in self._options.items():
            if option.default is dataclasses.MISSING and key not in self._values:
                raise UserError(f"agent.{key} is missing: {self._name} does not go without it; give it")
        return AgentConfig(name=self._name, options=made(AGENTS.get(self._name).Options, self._values, "agent"))

    def set(self, key: str, value: Any, where: str) -> None:
        """Takes ``agent`` (an empty key), ``agent.class_path``, ``agent.init_args`` or an option, from a file."""
        key = key.removeprefix("init_args.")
        if key == "" and isinstance(value, str):
            self._choose(value)
        elif key in ("", "init_args") and isinstance(value, Mapping):
            # Whichever comes first in the file: options belong to the class beside them.
            for name in sorted(value, key=lambda name: name != "class_path"):
                self.set(f"init_args.{name}" if key else name, value[name], where)
        elif key == "":
            raise UserError(
                f"{where}agent is {value!r}; give a class name of `adafocus list`, or a block with class_path"
            )
        elif key == "class_path":
            if not isinstance(value, str):
                raise UserError(f"{where}agent.class_path is {value!r}; give a class name of `adafocus list`")
            self._choose(value)
        elif key == "init_args":
            raise UserError(f"{where}agent.init_args is {value!r}; give a block of options")
        else:
            self._set_option(key, value, from_text=False)

    def set_text(self, key: str, text: str) -> None:
        """The same from a command line."""
        if (key == "" and text.lstrip().startswith("{")) or key == "init_args":
            self.set(key, parse_yaml(text, f"--agent.{key}".rstrip(".")), "")
        elif key in ("", "class_path"):
            self._choose(text)
        else:
            self._set_option(key.removeprefix("init_args."), text, from_text=True)

    def _choose(self, name: str) -> None:
        name = _find_agent(name)
        if name == self._name:
            return
        before = self._values
        self._name, self._options = name, _agent_options(name)
        self._values = _defaults(self._options)
        for key in before.keys() & self._values.keys():
            try:
                self._values[key] = convert(plain(before[key]), self._options[key].hint, key)
            except UserError:
                continue  # of the same name, but another kind

    def _set_option(self, key: str, value: Any, *, from_text: bool) -> None:
        leaf = _leaf_of(key, {name: option.hint for name, option in self._options.items()})
        if leaf is None:
            raise UserError(unknown(f"agent.{key}", [f"agent.{name}" for name in self._options], whose=self._name))
        hint, before = self._options[leaf].hint, self._values.get(leaf)
        self._values[leaf] = _changed(before, hint, f"agent.{leaf}", f"agent.{key}", value, from_text=from_text)


_DEFAULTS = ExperimentConfig()
_ALL_KEYS = "`--print_config` shows all keys."


def _leaf_of(key: str, hints: Mapping[str, Any]) -> str | None:
    if key.removesuffix("+") in hints:
        return key.removesuffix("+")
    while "." in key:
        key = key.rpartition(".")[0]
        if key in hints and _takes_block(hints[key]):
            return key
    return None


def _takes_block(hint: Any) -> bool:
    kinds = (hint, *get_args(hint))
    return any(kind is dict or kind is Any or getattr(kind, "__origin__", None) is dict for kind in kinds)


def _changed(before: Any, hint: Any, leaf: str, key: str, value: Any, *, from_text: bool) -> Any:
    """The value of ``leaf`` after ``key`` was set: the key itself, ``KEY+``, or an entry ``KEY.NAME``."""
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


def _agent_options(name: str) -> dict[str, Option]:
    return options_of(AGENTS.get(name).Options)


def _find_agent(name: str) -> str:
    """The registered name of an agent: the name itself, or the dotted path of its class, as old files hold it.

    Nothing is imported for it but what other installed packages announce.

    Raises:
        UserError: no agent has this name.
    """
    module, _, short = name.rpartition(".")
    if module and short in AGENTS:
        owner = AGENTS.get(short).__module__
        if owner == module or owner.startswith(f"{module}."):
            return short
    AGENTS.get(name)
    return name


def _defaults(options: Mapping[str, Option]) -> dict[str, Any]:
    """The defaults that a file can hold; others are left to the class."""
    found = {}
    for key, option in options.items():
        if option.default is dataclasses.MISSING or not is_readable(option.hint):
            continue
        try:
            plain(option.default)
        except TypeError:
            continue
        found[key] = option.default
    return found
