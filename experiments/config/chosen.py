"""Keys whose options depend on what is chosen: the agent, the methods, and π′, which follows the agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from adafocus_rl.agents import AGENTS, PPOAgent, PPOOptions
from adafocus_rl.agents.methods import METHODS
from adafocus_rl.agents.policies import NetworkOptions
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.experiment import AgentConfig, ExperimentConfig
from adafocus_rl.experiments.config.keys import Block, Origin, Part, expect_text
from adafocus_rl.options import options_of
from adafocus_rl.plain import convert, made, plain
from adafocus_rl.yaml_text import parse_yaml


class Keys(Block):
    """All keys of a configuration, beginning with the defaults; what is set later wins."""

    def __init__(self) -> None:
        self.agent = AgentKeys()
        self._skipper = Overrides(PPOOptions, "skip.options", values={}, whose=PPOAgent.__name__)
        parts: dict[str, Part] = {"agent": self.agent, "methods": MethodKeys(), "skip.options": self._skipper}
        super().__init__(ExperimentConfig, values=vars(ExperimentConfig()), parts=parts)

    def build(self) -> ExperimentConfig:
        """The configuration.

        Raises:
            UserError: a value is missing or out of range.
        """
        agent = self.agent.build().options
        self._skipper.base = options_like(agent)
        config: ExperimentConfig = super().build()
        return config


def options_like(agent: Any) -> PPOOptions:
    """Return the options of a π′ beside an agent: PPO's own options, or defaults with the network of another agent."""
    if isinstance(agent, PPOOptions):
        return agent
    shared = fields(NetworkOptions) if isinstance(agent, NetworkOptions) else ()
    return PPOOptions(**{field.name: getattr(agent, field.name) for field in shared})


class Overrides(Block):
    """Options of which only those that are given are kept; the others are those of ``base``."""

    base: Any

    def build(self) -> Any:
        """The options, complete."""
        return made(self.kind, {**vars(self.base), **self.values}, self.key)


class AgentKeys:
    """Which agent, and its options; another class keeps the options that it has, too.

    In a file: a name, or ``class_path`` and ``init_args``.
    """

    def __init__(self) -> None:
        self.name = AgentConfig().name
        self._options = _options_block(AGENTS.get(self.name), "agent", self.name)

    def set(self, path: str, value: Any, origin: Origin) -> None:
        """Takes the name (an empty path, or ``class_path``), all options (``init_args``), or one of them.

        Raises:
            UserError: unknown name or option, or a value of another type.
        """
        expect_text(f"agent.{path}".rstrip("."), value, origin)
        path = path.removeprefix("init_args.")
        if origin.is_text and (path == "init_args" or (path == "" and value.lstrip().startswith("{"))):
            value, origin = parse_yaml(value, f"--agent.{path}".rstrip(".")), Origin()
        if path == "" and isinstance(value, Mapping):
            # Whichever comes first in the file: options belong to the class beside them.
            for name in sorted(value, key=lambda name: name != "class_path"):
                self.set(str(name), value[name], origin)
        elif path in ("", "class_path"):
            self._choose(path, value, origin)
        elif path != "init_args":
            self._options.set(path, value, origin)
        elif isinstance(value, Mapping):
            for name in value:
                self._options.set(str(name), value[name], origin)
        else:
            raise UserError(f"{origin.prefix}agent.init_args is {value!r}; give a block of options")

    def build(self) -> AgentConfig:
        """The choice.

        Raises:
            UserError: an option is missing or out of range.
        """
        return AgentConfig(name=self.name, options=self._options.build())

    def plain(self) -> dict[str, Any]:
        """The name and the options, as a file holds them."""
        return {"class_path": self.name, "init_args": self._options.plain()}

    def _choose(self, path: str, value: Any, origin: Origin) -> None:
        if not isinstance(value, str):
            key, block = ("agent", ", or a block with class_path") if path == "" else ("agent.class_path", "")
            raise UserError(f"{origin.prefix}{key} is {value!r}; give a class name of `adafocus list`{block}")
        name = _find_agent(value)
        if name == self.name:
            return
        before = self._options.plain()
        self.name, self._options = name, _options_block(AGENTS.get(name), "agent", name)
        for option in before.keys() & self._options.values.keys():
            try:
                self._options.values[option] = convert(before[option], self._options.hints[option], option)
            except UserError:
                continue  # of the same name, but another kind


class MethodKeys:
    """Methods beside the agent's own, by name, each with its options."""

    def __init__(self) -> None:
        self._blocks: dict[str, Block] = {}

    def set(self, path: str, value: Any, origin: Origin) -> None:
        """Takes all methods (an empty path), one (``NAME``; null for its defaults, false leaves it out), or an option.

        Raises:
            UserError: unknown method or option, or a value of another type.
        """
        expect_text(f"methods.{path}".rstrip("."), value, origin)
        name, _, rest = path.partition(".")
        if origin.is_text and not rest:
            value, origin = parse_yaml(value, f"--methods.{path}".rstrip(".")), Origin()
        if not path:
            if not isinstance(value, Mapping):
                raise UserError(f"{origin.prefix}methods is {value!r}; give a block with names of `adafocus list`")
            for one, options in value.items():
                self.set(str(one), options, origin)
        elif value is False and not rest:
            self._blocks.pop(name, None)
        else:
            if name not in self._blocks:
                self._blocks[name] = _options_block(METHODS.get(name), f"methods.{name}", name)
            self._blocks[name].set(rest, {} if value is None and not rest else value, origin)

    def build(self) -> dict[str, Any]:
        """The options of each method.

        Raises:
            UserError: an option is missing or out of range.
        """
        return {name: block.build() for name, block in self._blocks.items()}

    def plain(self) -> dict[str, Any]:
        """The same as plain data."""
        return {name: block.plain() for name, block in self._blocks.items()}


def known_defaults(kind: type[Any]) -> dict[str, Any]:
    """The defaults of options that a file can hold, by name; others are left to the class."""
    found = {}
    for name, option in options_of(kind).items():
        try:
            plain(option.default)
        except TypeError:
            continue
        if option.readable:
            found[name] = option.default
    return found


def _options_block(chosen: Any, key: str, name: str) -> Block:
    """The options of a registered class, beginning with their defaults."""
    return Block(chosen.Options, key, values=known_defaults(chosen.Options), whose=name)


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
