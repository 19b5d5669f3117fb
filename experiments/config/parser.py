"""Conversion of recipes and command lines to typed configurations, and back to YAML.

All code that reads a recipe, a run's ``config.yaml`` or ``--KEY=VALUE`` arguments uses this module. Values are plain
data (``adafocus_rl.yaml_text``), converted by the annotations of the configuration's dataclasses
(``adafocus_rl.plain``). They can select registered classes only, by name.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from adafocus_rl.agents import AGENTS
from adafocus_rl.agents.methods import METHODS
from adafocus_rl.data import DATASETS
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.chosen import Keys, known_defaults
from adafocus_rl.experiments.config.embedded import embedded_config
from adafocus_rl.experiments.config.experiment import ExperimentConfig
from adafocus_rl.experiments.config.key_help import agent_help, config_help
from adafocus_rl.experiments.config.keys import Origin
from adafocus_rl.experiments.config.recipe_files import find_overlay, read_recipe
from adafocus_rl.experiments.terminal.command_line import print_yaml
from adafocus_rl.files import user_path
from adafocus_rl.models.config import FILE_SUFFIXES, IN_PACKAGE
from adafocus_rl.options import options_of
from adafocus_rl.plain import convert_text, plain_options, unknown
from adafocus_rl.yaml_text import dump_yaml

FLAGS = ("help", "print_config", "agent.help")
"""Arguments that print something; they take a value only after ``=``."""

PRINT_FLAGS = ("skip_default", "skip_unset")
"""Values of ``--print_config``: leave out defaults, or keys that are not set (there are none)."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A complete configuration, typed and as plain values."""

    config: ExperimentConfig
    """The configuration, defaults included."""

    values: dict[str, Any]
    """The same as plain nested values, as in ``config.yaml``."""

    @property
    def text(self) -> str:
        """YAML from which ``load_settings`` restores equal settings."""
        return dump_yaml(self.values)


def settings_help(usage: str) -> str:
    """Return the help text for all keys of a configuration.

    Args:
        usage: the first line.
    """
    return (
        f"{config_help(ExperimentConfig, usage, other=('agent', 'methods'), whole=('skip.options',))}"
        "\nagent: selects the patches; its options as --agent.OPTION, or as --agent=NAME:OPTION=VALUE,OPTION=VALUE:\n"
        f"  --agent {{{','.join(AGENTS.names())}}}\n"
        "  --agent.help[=NAME]   its options\n"
        "\nmethods: further methods to train and evaluate; their options as --methods.NAME.OPTION:\n"
        f"  --methods.{{{','.join(METHODS.names())}}} {{true,false}}\n"
        "\nfiles:\n"
        "  --config MORE.yaml    overrides the recipe; may be given several times\n"
        "  --print_config[=FLAGS]  print the configuration after all other arguments; FLAGS: skip_default\n"
    )


def parse_settings(prog: str, argv: Sequence[str]) -> Settings:
    """Return the settings of a command line of ``--config FILE`` and ``--KEY=VALUE`` arguments.

    Paths become absolute, so that a run can be evaluated from any folder.

    Args:
        prog: the command, for its help.
        argv: the arguments.

    Raises:
        UserError: if a key is unknown, a value has the wrong type or is out of range, or a file is not a recipe.
        SystemExit: after printing what an argument such as ``--help`` requested.
    """
    usage = f"{prog} [--config MORE.yaml] [--KEY=VALUE ...]"
    keys, wanted = Keys(), None
    for name, value in _pairs(argv):
        if name == "config":
            if value is None:
                raise UserError("argument --config: expected one argument; give a file")
            path = find_overlay(value)
            keys.set("", read_recipe(path), Origin(file=path))
        elif name == "print_config":
            wanted = value or ""
        elif name == "agent.help":
            sys.stdout.write(agent_help(value or keys.agent.name, usage))
            raise SystemExit(0)
        elif name == "help":
            sys.stdout.write(settings_help(usage))
            raise SystemExit(0)
        else:
            keys.set(name, value, Origin(is_text=True))
    settings = _settings(keys)
    if wanted is not None:
        _print_config(settings, wanted)
        raise SystemExit(0)
    _make_absolute(keys)
    return _settings(keys)


def load_settings(path: Path) -> Settings:
    """Return the settings of one file, without a command line.

    Raises:
        UserError: as ``parse_settings``.
    """
    return parse_settings("adafocus", ["--config", str(path)])


def parse_options(kind: type[Any], argv: Sequence[str]) -> dict[str, Any]:
    """Return the typed options of a dataclass that have a default or are given as ``--OPTION=VALUE``.

    Raises:
        UserError: if an option is unknown, or a value is missing or has the wrong type.
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
    """Yield the name and value of each ``--NAME=VALUE``, ``--NAME VALUE`` and, with the value None, ``--NAME``."""
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
    """Return the settings from the values set so far, after checking them together."""
    config = keys.build()
    if config.data.embedded in DATASETS and config.data.embedded_options:
        embedded_config(str(config.data.embedded), config.data.embedded_options)
    return Settings(config=config, values=keys.plain())


def _print_config(settings: Settings, flags: str) -> None:
    """Print the configuration to stdout as a recipe.

    Raises:
        UserError: if a flag is unknown.
    """
    values = settings.values
    for flag in filter(None, flags.split(",")):
        if flag not in PRINT_FLAGS:
            raise UserError(f"--print_config={flag} is unknown; give one of: {', '.join(PRINT_FLAGS)}")
        if flag == "skip_default":
            agent = settings.config.agent.options
            given = _without(plain_options(agent), known_defaults(type(agent)))
            values = {**_without(values, Keys().plain()), "agent": {**values["agent"], "init_args": given}}
    print_yaml(values)


def _without(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that differ from the defaults."""
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
    data = keys.block("data").values
    if data["embedded"] and data["root"] is None:
        data["root"] = f"data/{data['embedded']}"
    for name in ("root", "train_list", "val_list", "stills_list", "classes"):
        if data[name] is not None:
            data[name] = str(user_path(data[name]).absolute())
    for encoder in (keys.block("model.glance").values, keys.block("model.focus").values):
        # Other values are `none`, the name of published weights, or a file in an installed package.
        if Path(encoder["weights"]).suffix in FILE_SUFFIXES and not encoder["weights"].startswith(IN_PACKAGE):
            encoder["weights"] = str(user_path(encoder["weights"]).absolute())
