"""Keys whose options depend on other keys: the agent, the methods, and π′, whose options default to the agent's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from adafocus_rl.agents import AGENTS, GRPOOptions, PPOOptions
from adafocus_rl.agents.methods import METHODS
from adafocus_rl.agents.policies import NetworkOptions
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.agent_name import find_agent, split_agent
from adafocus_rl.experiments.config.experiment import AgentConfig, ExperimentConfig
from adafocus_rl.experiments.config.keys import Block, Origin, Part, expect_text
from adafocus_rl.experiments.config.stages import SkipConfig
from adafocus_rl.options import options_of
from adafocus_rl.plain import convert, made, plain, unknown
from adafocus_rl.yaml_text import parse_yaml


class Keys(Block):
    """All keys of a configuration, initialised to the defaults; a later value overrides an earlier one."""

    def __init__(self) -> None:
        self.agent = AgentKeys()
        self._skipper = SkipperKeys()
        parts: dict[str, Part] = {"agent": self.agent, "methods": MethodKeys(), "skip.options": self._skipper}
        super().__init__(ExperimentConfig, values=vars(ExperimentConfig()), parts=parts)

    def build(self) -> ExperimentConfig:
        """Return the configuration.

        Raises:
            UserError: if a value is missing or out of range.
        """
        self._skipper.choose(self.block("skip").values["agent"], self.agent.build().options)
        config: ExperimentConfig = super().build()
        return config


class SkipperKeys(Block):
    """Options of π′: only those that were set are stored; the others follow from its class and the run's agent.

    Options of every class that π′ can have can be set, since its class may be chosen later.
    """

    def __init__(self) -> None:
        super().__init__(PPOOptions, "skip.options", values={}, whose=SkipConfig.agent)
        self.hints = {
            name: option.hint for kind in (GRPOOptions, PPOOptions) for name, option in options_of(kind).items()
        }
        self._base: dict[str, Any] = {}

    def choose(self, name: str, agent: Any) -> None:
        """Choose the class of π′, and take the options that were not set from the run's agent.

        Args:
            name: the class.
            agent: options of the run's agent: all are taken if they are of the same class, else those of its network.

        Raises:
            UserError: if an option was set that the class does not have.
        """
        self.kind, self.whose = AGENTS.get(name).Options, name
        known = options_of(self.kind)
        for option in self.values:
            if option not in known:
                raise UserError(unknown(f"{self.key}.{option}", [f"{self.key}.{one}" for one in known], whose=name))
        shared = fields(self.kind) if isinstance(agent, self.kind) else fields(NetworkOptions)
        taken = shared if isinstance(agent, NetworkOptions) else ()
        self._base = {field.name: getattr(agent, field.name) for field in taken}

    def build(self) -> Any:
        """Return all options."""
        return made(self.kind, {**self._base, **self.values}, self.key)


class AgentKeys:
    """The agent's class and options; on a change of class, options that the new class also has are kept.

    A file holds a name, or ``class_path`` and ``init_args``; either name may have options (``split_agent``).

    Args:
        name: initial class, with its default options.
    """

    def __init__(self, name: str = AgentConfig.name) -> None:
        self.name = name
        self._options = _options_block(AGENTS.get(self.name), "agent", self.name)

    def set(self, path: str, value: Any, origin: Origin) -> None:
        """Set the name (an empty path, or ``class_path``), all options (``init_args``), or one option.

        Raises:
            UserError: if the name or option is unknown, or the value has the wrong type.
        """
        expect_text(f"agent.{path}".rstrip("."), value, origin)
        path = path.removeprefix("init_args.")
        if origin.is_text and (path == "init_args" or (path == "" and value.lstrip().startswith("{"))):
            value, origin = parse_yaml(value, f"--agent.{path}".rstrip(".")), Origin()
        if path == "" and isinstance(value, Mapping):
            # Set the class first, whatever the order in the file: the options belong to it.
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
        """Return the agent's name and options.

        Raises:
            UserError: if an option is missing or out of range.
        """
        return AgentConfig(name=self.name, options=self._options.build())

    def plain(self) -> dict[str, Any]:
        """Return the name and the options as a file holds them."""
        return {"class_path": self.name, "init_args": self._options.plain()}

    def _choose(self, path: str, value: Any, origin: Origin) -> None:
        if not isinstance(value, str):
            key, block = ("agent", ", or a block with class_path") if path == "" else ("agent.class_path", "")
            raise UserError(f"{origin.prefix}{key} is {value!r}; give a class name of `adafocus list`{block}")
        value, options = split_agent(value)
        self._change(find_agent(value))
        for option, text in options.items():
            self._options.set(option, text, Origin(file=origin.file, is_text=True))

    def _change(self, name: str) -> None:
        """Change the class; options that the new class also has are kept."""
        if name == self.name:
            return
        before = self._options.plain()
        self.name, self._options = name, _options_block(AGENTS.get(name), "agent", name)
        for option in before.keys() & self._options.values.keys():
            try:
                self._options.values[option] = convert(before[option], self._options.hints[option], option)
            except UserError:
                continue  # an option of the same name with another type


class MethodKeys:
    """Options of the methods trained besides the agent, by method name."""

    def __init__(self) -> None:
        self._blocks: dict[str, Block] = {}

    def set(self, path: str, value: Any, origin: Origin) -> None:
        """Set all methods (an empty path), one (``NAME``; null for its defaults, false to remove it), or an option.

        Raises:
            UserError: if the method or option is unknown, or the value has the wrong type.
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
        """Return the options of each method.

        Raises:
            UserError: if an option is missing or out of range.
        """
        return {name: block.build() for name, block in self._blocks.items()}

    def plain(self) -> dict[str, Any]:
        """Return the options of each method as plain data."""
        return {name: block.plain() for name, block in self._blocks.items()}


def agent_config(text: str) -> AgentConfig:
    """Return an agent given by name, with its default options but for those in the text (``split_agent``).

    Raises:
        UserError: if the name or an option is unknown, or a value has the wrong type or is out of range.
    """
    keys = AgentKeys(find_agent(split_agent(text)[0]))
    keys.set("", text, Origin())
    return keys.build()


def known_defaults(kind: type[Any]) -> dict[str, Any]:
    """Return the default values that a file can hold, by option name; the class supplies the others."""
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
    """Return the options of a registered class, initialised to their defaults."""
    return Block(chosen.Options, key, values=known_defaults(chosen.Options), whose=name)
