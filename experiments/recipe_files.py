"""Recipe files: found by name or path, and looked at before the parser sees them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.command_line import one_line
from adafocus_rl.experiments.config import ExperimentConfig

FOLDER = files("adafocus_rl.experiments") / "recipes"


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in FOLDER.iterdir() if entry.name.endswith(".yaml"))


def find_recipe(name: str) -> Path:
    """The YAML file of a recipe given by name or by path.

    Raises:
        UserError: when there is neither; the nearest name is suggested.
    """
    known = recipe_names()
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name).expanduser()
        if not path.is_file():
            raise UserError(f"there is no recipe file {name}; check the path, or name one of: {', '.join(known)}")
        return path
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        meant = f"did you mean {near[0]!r}? Otherwise choose" if near else "choose"
        raise UserError(f"unknown recipe {name!r}; {meant} one of: {', '.join(known)}; or give the path of a YAML file")
    return Path(str(FOLDER / f"{name}.yaml"))


def find_overlay(name: str) -> Path:
    """The file of ``--config``: a path, or the name of one that comes with the package (``tsm``, ``tsm_plus``)."""
    own = FOLDER / "overlays" / f"{name}.yaml"
    return Path(str(own)) if own.is_file() else Path(name).expanduser()


def check_recipe(path: Path) -> None:
    """Refuses a file whose blocks are no blocks.

    The parser takes ``stage1: 3`` for an empty block, and would go on with all of its defaults.

    Raises:
        UserError: no such file, no text, no YAML, no mapping at the top, or a plain value where a block belongs.
    """
    if not path.is_file():
        raise UserError(f"there is no configuration file {path}; check the path")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file; give a recipe in YAML") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {one_line(str(error))}") from None
    if not isinstance(content, Mapping):
        raise UserError(f"{path} is not a recipe; give YAML with keys such as `data:` and `stage1:`")
    agent = content.get("agent", "")
    if not isinstance(agent, (str, Mapping)):
        raise UserError(f"{path}: agent is {agent!r}; give a class name of `adafocus list`, or a block with class_path")
    _check_blocks(path, content, ExperimentConfig, "")


def _check_blocks(path: Path, content: Mapping[str, Any], kind: type[Any], prefix: str) -> None:
    hints = get_type_hints(kind)
    for field in fields(kind):
        if field.name not in content or not is_dataclass(hints[field.name]):
            continue
        value = content[field.name]
        if not isinstance(value, Mapping):
            keys = ", ".join(inner.name for inner in fields(hints[field.name]))
            raise UserError(f"{path}: {prefix}{field.name} is {value!r}; give a block with some of the keys {keys}")
        _check_blocks(path, value, hints[field.name], f"{prefix}{field.name}.")
