"""Recipes and command lines to configurations; every mistake becomes one sentence."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from adafocus_rl.agents import AGENTS, Agent
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config import AgentConfig, ExperimentConfig

RECIPES = files("adafocus_rl.experiments") / "recipes"


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in RECIPES.iterdir() if entry.name.endswith(".yaml"))


def find_recipe(name: str) -> Path:
    """The YAML file of a recipe given by name or by path.

    Raises:
        UserError: when there is neither; the nearest name is suggested.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name).expanduser()
        if not path.is_file():
            raise UserError(
                f"there is no recipe file {name}; check the path, or name one of: {', '.join(recipe_names())}"
            )
        return path
    if name not in recipe_names():
        near = difflib.get_close_matches(name, recipe_names(), n=1, cutoff=0.4)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(
            f"unknown recipe {name!r}; {meant}Choose one of: {', '.join(recipe_names())}; or give the path of a YAML file"
        )
    return Path(str(RECIPES / f"{name}.yaml"))


def experiment_parser(prog: str) -> ArgumentParser:
    """A parser with every key of :class:`ExperimentConfig`, and ``agent``."""
    AGENTS.names()  # loads third parties' agents, so that the parser knows their class names
    parser = ArgumentParser(prog=prog, exit_on_error=False)
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


def to_config(parser: ArgumentParser, parsed: Namespace) -> tuple[ExperimentConfig, AgentConfig]:
    """The typed configuration in a parsed command line."""
    names = set(ExperimentConfig.__dataclass_fields__)
    values = parser.instantiate(parsed)
    config = ExperimentConfig(**{name: values[name] for name in names})
    agent = parsed.agent
    options = vars(agent.get("init_args") or Namespace())
    return config, AgentConfig(name=agent.class_path.rsplit(".", 1)[-1], options=dict(options))


def config_text(parser: ArgumentParser, parsed: Namespace) -> str:
    """The configuration as YAML that :func:`load_config` reads back."""
    keep = {*ExperimentConfig.__dataclass_fields__, "agent"}
    only = Namespace(**{name: value for name, value in vars(parsed).items() if name in keep})
    text = parser.dump(only, skip_validation=True)
    content = yaml.safe_load(text)
    content["agent"]["class_path"] = content["agent"]["class_path"].rsplit(".", 1)[-1]
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def load_config(path: Path) -> tuple[ExperimentConfig, AgentConfig]:
    """A configuration file on its own, without a command line."""
    parser = experiment_parser("adafocus")
    with one_sentence(parser):
        parsed = parser.parse_args(["--config", str(path)])
    return to_config(parser, parsed)


@contextmanager
def one_sentence(parser: ArgumentParser, argv: Sequence[str] = ()) -> Iterator[None]:
    """Turns the parser's errors into :class:`UserError` with a suggestion where a key is nearly right."""
    try:
        yield
    except argparse.ArgumentError as error:
        raise UserError(_explain(parser, str(error))) from None
    except yaml.YAMLError as error:
        raise UserError(f"a configuration file is not valid YAML: {' '.join(str(error).split())}") from None


def _explain(parser: ArgumentParser, message: str) -> str:
    message = " ".join(message.split())
    if match := re.search(r"Expected a dot import path string: (\S+)", message):
        try:
            AGENTS.get(match[1])
        except UserError as error:
            return str(error)
    if match := re.search(r"Group '(.*)' does not accept option '(.*)'", message):
        return _unknown(f"{match[1]}.{match[2]}" if match[1] else match[2], _keys(parser))
    if match := re.search(r"unrecognized arguments: (.*)", message):
        option = match[1].split()[0]
        known = [f"--{key}" for key in _keys(parser)]
        return _unknown(option.split("=")[0], known) if option.startswith("-") else f"unexpected argument {option!r}"
    if match := re.search(r"class_path '([^']*)': Option '(.*)' is not accepted", message):
        name = match[1].rsplit(".", 1)[-1]
        options = [key for key in _agent_options(name)]
        return _unknown(f"agent.{match[2]}", [f"agent.{key}" for key in options], f" of {name}")
    if match := re.search(r"""Key ['"]?([\w.]+)['"]? is not|No action for key ['"]?([\w.]+)""", message):
        return _unknown(match[1] or match[2], _keys(parser))
    message = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", message).replace("typing.", "")
    return re.sub(r'^Parser key "([^"]*)": *', r"\1: ", message)


def _unknown(key: str, known: Sequence[str], whose: str = "") -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    meant = f"did you mean {near[0]!r}?" if near else "`--print_config` shows all keys."
    return f"unknown key {key!r}{whose}; {meant}"


def _keys(parser: ArgumentParser) -> list[str]:
    actions: list[Any] = parser._actions
    return [action.dest for action in actions if action.dest not in ("help", "config", "print_config")]


def _agent_options(name: str) -> list[str]:
    import inspect

    agent = AGENTS.get(name)
    return [key for key in inspect.signature(agent.__init__).parameters if key not in ("self", "env", "seed")]


def full_command() -> str:
    """The command line as typed."""
    import shlex

    return shlex.join(["adafocus", *sys.argv[1:]])
