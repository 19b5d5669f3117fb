"""Recipes and command lines to typed configurations, and back to YAML."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from adafocus_rl.agents import AGENTS, Agent
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config import AgentConfig, ExperimentConfig
from adafocus_rl.experiments.parser_errors import explain
from adafocus_rl.experiments.recipe_files import check_recipe, find_overlay
from adafocus_rl.models.weights import FILE_SUFFIXES

KEYS = (*ExperimentConfig.__dataclass_fields__, "agent")
"""The top-level keys of a recipe."""


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
        return yaml.safe_dump(self.values, sort_keys=False, allow_unicode=True)


def experiment_parser(prog: str) -> ArgumentParser:
    """A parser with every key of :class:`ExperimentConfig`, and ``agent``."""
    AGENTS.names()  # loads third parties' agents, so that the parser knows their class names
    parser = ArgumentParser(prog=prog, exit_on_error=False, allow_abbrev=False)
    parser.add_argument(
        "--config", action=ActionConfigFile, help="YAML file over the recipe; may be given several times"
    )
    parser.add_class_arguments(ExperimentConfig, None, fail_untyped=True)
    parser.add_subclass_arguments(
        Agent,
        "agent",
        skip={"env", "seed"},
        instantiate=False,
        default={"class_path": "PPOAgent"},
        help="who chooses the patches: a class name of `adafocus list`, its options as --agent.OPTION",
    )
    return parser


def parse_settings(parser: ArgumentParser, argv: Sequence[str]) -> Settings:
    """Settings from a command line of ``--config FILE`` and ``--KEY=VALUE``.

    Paths become absolute, so that a run can be evaluated from any folder.

    Args:
        parser: from :func:`experiment_parser`.
        argv: the arguments.

    Raises:
        UserError: unknown key, wrong type, value out of range, or a file that is no recipe.
    """
    arguments = _with_overlays(argv)
    for argument in arguments:
        if argument.startswith("--config="):
            check_recipe(Path(argument.partition("=")[2]))
    with one_sentence(parser):
        parsed = parser.parse_args(arguments)
    name = parsed.agent.class_path.rsplit(".", 1)[-1]
    options = vars(parsed.agent.get("init_args") or Namespace())
    _refuse_nulls(parsed, ExperimentConfig, "")
    _refuse_null_options(options, AGENTS.get(name))
    _make_absolute(parsed)
    values = parser.instantiate(parsed)
    config = ExperimentConfig(**{key: values[key] for key in ExperimentConfig.__dataclass_fields__})
    content = yaml.safe_load(parser.dump(parsed, skip_validation=True, skip_unset=False))
    plain = {key: content[key] for key in KEYS}
    plain["agent"] = {"class_path": name, "init_args": dict(content["agent"].get("init_args") or {})}
    return Settings(config=config, agent=AgentConfig(name=name, options=dict(options)), values=plain)


def _with_overlays(argv: Sequence[str]) -> list[str]:
    """The arguments with each ``--config NAME`` as ``--config=PATH``."""
    arguments, given = [], iter(argv)
    for argument in given:
        name, equals, value = argument.partition("=")
        if name == "--config" and not equals:
            value = next(given, "")
        arguments.append(f"--config={find_overlay(value)}" if name == "--config" and value else argument)
    return arguments


def load_settings(path: Path) -> Settings:
    """Settings from one file, without a command line.

    Raises:
        UserError: as :func:`parse_settings`.
    """
    return parse_settings(experiment_parser("adafocus"), ["--config", str(path)])


def _refuse_nulls(values: Any, kind: type[Any], prefix: str) -> None:
    """The parser lets a YAML null pass for any type; we do so only where the field says ``| None``."""
    for name, hint in get_type_hints(kind).items():
        if is_dataclass(hint):
            _refuse_nulls(values[name], cast("type[Any]", hint), f"{prefix}{name}.")
        elif values[name] is None and type(None) not in get_args(hint):
            raise UserError(f"{prefix}{name} is null; give a value, or leave the key out")


def _refuse_null_options(options: Mapping[str, Any], agent: type[Agent]) -> None:
    hints = get_type_hints(agent.__init__)
    for name, value in options.items():
        if value is None and type(None) not in get_args(hints.get(name)):
            raise UserError(f"agent.{name} is null; give a value, or leave the key out")


def _make_absolute(parsed: Namespace) -> None:
    if parsed.data.embedded and parsed.data.root is None:
        parsed.data.root = f"data/{parsed.data.embedded}"
    for key in ("root", "train_list", "val_list", "stills_list", "classes"):
        if parsed.data[key] is not None:
            parsed.data[key] = str(Path(parsed.data[key]).expanduser().absolute())
    for part in (parsed.model.glance, parsed.model.focus):
        # It may be `none` or the name of published weights instead.
        if Path(part.weights).suffix in FILE_SUFFIXES:
            part.weights = str(Path(part.weights).expanduser().absolute())


@contextmanager
def one_sentence(parser: ArgumentParser) -> Iterator[None]:
    """Turns the parser's errors into :class:`UserError`, with a suggestion where a key is nearly right."""
    try:
        yield
    except argparse.ArgumentError as error:
        raise UserError(explain(parser, str(error))) from None
