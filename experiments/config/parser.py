"""Recipes and command lines to typed configurations, and back to YAML.

This is the one door: whatever reads a recipe, a run's ``config.yaml`` or ``--KEY=VALUE`` comes through here. Values are
plain data (:mod:`adafocus_rl.yaml_text`), converted as the fields of our own dataclasses are annotated
(:mod:`adafocus_rl.plain`). The only classes that they choose are registered ones, by name.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from adafocus_rl.agents import AGENTS
from adafocus_rl.agents.ppo.options import PPOOptions
from adafocus_rl.data import DATASETS
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.embedded import embedded_config
from adafocus_rl.experiments.config.experiment import AgentConfig, ExperimentConfig
from adafocus_rl.experiments.config.key_help import agent_help, config_help
from adafocus_rl.experiments.config.keys import Keys
from adafocus_rl.experiments.config.recipe_files import find_overlay, read_recipe
from adafocus_rl.experiments.terminal.command_line import print_yaml
from adafocus_rl.files import user_path
from adafocus_rl.models.weights import FILE_SUFFIXES
from adafocus_rl.options import options_of
from adafocus_rl.plain import convert, convert_text, plain, plain_options, unknown
from adafocus_rl.yaml_text import dump_yaml

FLAGS = ("help", "print_config", "agent.help")
"""Arguments that ask for something to be printed; what they take stands behind ``=``."""

PRINT_FLAGS = ("skip_default", "skip_unset")
"""What ``--print_config`` takes: leave out defaults; and what is not set, which is nothing."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A whole configuration."""

    config: ExperimentConfig
    """Everything but the agent."""

    agent: AgentConfig
    """The agent."""

    values: dict[str, Any]
    """Both as plain nested values: what ``config.yaml`` holds, defaults written out."""

    @property
    def text(self) -> str:
        """YAML that :func:`load_settings` reads back equal."""
        return dump_yaml(self.values)


class ExperimentParser:
    """Reads command lines of ``--config FILE`` and ``--KEY=VALUE``.

    Args:
        prog: the command, for its help.
    """

    def __init__(self, prog: str) -> None:
        self.usage = f"{prog} [--config MORE.yaml] [--KEY=VALUE ...]"

    def print_help(self) -> None:
        """All keys of :class:`ExperimentConfig`, on stdout."""
        sys.stdout.write(config_help(ExperimentConfig, self.usage))
        sys.stdout.write(
            "\nagent: who chooses the patches, by name; its options as --agent.OPTION:\n"
            f"  --agent {{{','.join(AGENTS.names())}}}\n"
            "  --agent.help[=NAME]   its options\n"
            "\nfiles:\n"
            "  --config MORE.yaml    over the recipe; may be given several times\n"
            "  --print_config[=FLAGS]  print the configuration after all other arguments; FLAGS: skip_default\n"
        )


def experiment_parser(prog: str) -> ExperimentParser:
    """A parser with every key of :class:`ExperimentConfig`, and ``agent``."""
    return ExperimentParser(prog)


def parse_settings(parser: ExperimentParser, argv: Sequence[str]) -> Settings:
    """Settings from a command line of ``--config FILE`` and ``--KEY=VALUE``.

    Paths become absolute, so that a run can be evaluated from any folder.

    Args:
        parser: from :func:`experiment_parser`.
        argv: the arguments.

    Raises:
        UserError: unknown key, wrong type, value out of range, or a file that is no recipe.
        SystemExit: something was asked to be printed, and is.
    """
    keys, wanted = Keys(), None
    for name, value in _pairs(argv):
        if name == "config":
            if value is None:
                raise UserError("argument --config: expected one argument; give a file")
            path = find_overlay(value)
            keys.set_all(read_recipe(path), path)
        elif name == "print_config":
            wanted = value or ""
        elif name == "agent.help":
            sys.stdout.write(agent_help(value or keys.agent().name, parser.usage))
            raise SystemExit(0)
        elif name == "help":
            parser.print_help()
            raise SystemExit(0)
        else:
            keys.set_text(name, value)
    settings = _settings(keys)
    if wanted is not None:
        _print_config(settings, wanted)
        raise SystemExit(0)
    _make_absolute(keys)
    return _settings(keys)


def load_settings(path: Path) -> Settings:
    """Settings from one file, without a command line.

    Raises:
        UserError: as :func:`parse_settings`.
    """
    return parse_settings(experiment_parser("adafocus"), ["--config", str(path)])


def parse_options(kind: type[Any], argv: Sequence[str]) -> dict[str, Any]:
    """Typed options of a dataclass, all that have a default or are given as ``--OPTION=VALUE``.

    Raises:
        UserError: unknown option, or a wrong type.
    """
    options = options_of(kind)
    found = {name: option.default for name, option in options.items() if option.default is not MISSING}
    for name, value in _pairs(argv):
        if name not in options:
            raise UserError(unknown(f"--{name}", [f"--{known}" for known in options]))
        if value is None:
            raise UserError(f"argument --{name}: expected one argument; write --{name}=VALUE")
        found[name] = convert_text(value, options[name].hint, name)
    return found


def _pairs(argv: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Names and values of ``--NAME=VALUE``, ``--NAME VALUE`` and, without a value, ``--NAME``."""
    given = list(argv)
    while given:
        argument = given.pop(0)
        name, equals, value = argument.partition("=")
        if not re.fullmatch(r"--\w.*", name, re.DOTALL):
            if argument.startswith("-"):
                raise UserError(f"unknown key {name!r}; `--print_config` shows all keys.")
            raise UserError(f"unexpected argument {argument!r}; write --KEY=VALUE")
        name = name.removeprefix("--")
        takes_none = name in FLAGS or not given or re.match(r"-(?!\.?\d)", given[0])
        yield name, value if equals else None if takes_none else given.pop(0)


def _settings(keys: Keys) -> Settings:
    """What has been said, checked whole."""
    keys.values["skip.options"] = _skip_options(keys.values["skip.options"])
    config, agent = keys.config(), keys.agent()
    if config.data.embedded in DATASETS and config.data.embedded_options:
        embedded_config(str(config.data.embedded), config.data.embedded_options)
    options = {"class_path": agent.name, "init_args": plain_options(agent.options)}
    return Settings(config=config, agent=agent, values={**plain(config), "agent": options})


def _skip_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of π′, as ``PPOAgent`` annotates them.

    Raises:
        UserError: an option that it does not have, or of a wrong type.
    """
    options = options_of(PPOOptions)
    for name in given:
        if name not in options:
            raise UserError(f"skip.options has {name!r}, which PPOAgent does not have; it has {', '.join(options)}")
    return {name: convert(value, options[name].hint, f"skip.options.{name}") for name, value in given.items()}


def _print_config(settings: Settings, flags: str) -> None:
    """The configuration as a recipe, on stdout.

    Raises:
        UserError: an unknown flag.
    """
    values = settings.values
    for flag in filter(None, flags.split(",")):
        if flag not in PRINT_FLAGS:
            raise UserError(f"--print_config={flag} is unknown; give one of: {', '.join(PRINT_FLAGS)}")
        if flag == "skip_default":
            agent = {**values["agent"], "init_args": _without(values["agent"]["init_args"], _agent_defaults(settings))}
            values = {**_without(values, plain(ExperimentConfig())), "agent": agent}
    print_yaml(values)


def _agent_defaults(settings: Settings) -> dict[str, Any]:
    return {name: option.default for name, option in options_of(type(settings.agent.options)).items()}


def _without(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from the defaults."""
    kept = {}
    for name, value in values.items():
        default = defaults.get(name)
        if isinstance(value, Mapping) and isinstance(default, Mapping):
            value = _without(value, default)
            if value:
                kept[name] = value
        elif name not in defaults or value != default:
            kept[name] = value
    return kept


def _make_absolute(keys: Keys) -> None:
    values = keys.values
    if values["data.embedded"] and values["data.root"] is None:
        values["data.root"] = f"data/{values['data.embedded']}"
    for name in ("root", "train_list", "val_list", "stills_list", "classes"):
        if values[f"data.{name}"] is not None:
            values[f"data.{name}"] = str(user_path(values[f"data.{name}"]).absolute())
    for part in ("glance", "focus"):
        weights = values[f"model.{part}.weights"]
        # It may be `none` or the name of published weights instead.
        if Path(weights).suffix in FILE_SUFFIXES:
            values[f"model.{part}.weights"] = str(user_path(weights).absolute())
