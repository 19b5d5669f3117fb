"""Recipe files: found by name or path, and read as plain data."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adafocus_rl.errors import UserError
from adafocus_rl.files import user_path
from adafocus_rl.suggestions import nearest
from adafocus_rl.yaml_text import read_yaml

if TYPE_CHECKING:
    from importlib.abc import Traversable

FOLDER = files("adafocus_rl.experiments") / "recipes"


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return names_in(FOLDER)


def find_recipe(name: str) -> Path:
    """The YAML file of a recipe given by name or by path.

    Raises:
        UserError: when there is neither; the nearest name is suggested.
    """
    return find_file(name, FOLDER, "recipe")


def names_in(folder: Traversable) -> list[str]:
    """Names of the YAML files in a folder of the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def find_file(name: str, folder: Traversable, kind: str) -> Path:
    """A YAML file given by its path, or by its name in a folder of the package.

    Args:
        name: of it.
        folder: of the package.
        kind: what it is, for messages: ``recipe``.

    Raises:
        UserError: when there is neither; the nearest name is suggested.
    """
    known = names_in(folder)
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = user_path(name)
        if not path.is_file():
            raise UserError(f"there is no {kind} file {name}; check the path, or name one of: {', '.join(known)}")
        return path
    if name not in known:
        near = nearest(name, known, alike=0.5)
        meant = f"did you mean {near!r}? Otherwise choose" if near else "choose"
        raise UserError(f"unknown {kind} {name!r}; {meant} one of: {', '.join(known)}; or give the path of a YAML file")
    return Path(str(folder / f"{name}.yaml"))


def find_overlay(name: str) -> Path:
    """The file of ``--config``: a path, or the name of one that comes with the package (``tsm``, ``tsm_plus``)."""
    own = FOLDER / "overlays" / f"{name}.yaml"
    return Path(str(own)) if own.is_file() else user_path(name)


def read_recipe(path: Path) -> dict[str, Any]:
    """The content of a recipe, an overlay or a run's ``config.yaml``, as plain data.

    Raises:
        UserError: no such file, no text, no YAML, or no block at the top.
    """
    content = read_yaml(path, "configuration file")
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a recipe; give YAML with keys such as `data:` and `stage1:`")
    return content
