"""Recipe files: finding them by name or path, and reading them as plain data."""

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
    """Return the names of the recipes that come with the package."""
    return names_in(FOLDER)


def find_recipe(name: str) -> Path:
    """Return the YAML file of a recipe given by name or path.

    Raises:
        UserError: if there is no such recipe or file; the message suggests the nearest name.
    """
    return find_file(name, FOLDER, "recipe")


def names_in(folder: Traversable) -> list[str]:
    """Return the names of the YAML files in a folder of the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def find_file(name: str, folder: Traversable, kind: str) -> Path:
    """Return a YAML file given by its path, or by its name in a folder of the package.

    Args:
        name: the path, or the name without ``.yaml``.
        folder: a folder of the package.
        kind: kind of file, for messages: ``recipe``.

    Raises:
        UserError: if there is no such file; the message suggests the nearest name.
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
    """Return the file of ``--config``, given by path or by the name of a packaged overlay (``tsm``, ``tsm_plus``)."""
    own = FOLDER / "overlays" / f"{name}.yaml"
    return Path(str(own)) if own.is_file() else user_path(name)


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the content of a recipe, an overlay or a run's ``config.yaml`` as plain data.

    Raises:
        UserError: if the file does not exist, is not text or YAML, or is not a mapping at the top level.
    """
    content = read_yaml(path, "configuration file")
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a recipe; give YAML with keys such as `data:` and `stage1:`")
    return content


SMALL_DATA = 1000
"""Number of training videos below which ``custom_small`` takes minutes without a GPU."""


def suggested_recipe(videos: int, *, gpu: bool) -> tuple[str, str]:
    """Return the recipe that suits a user's own videos on a machine, and the reason in a few words.

    Args:
        videos: number of training videos.
        gpu: whether there is a GPU.
    """
    if gpu:
        return "custom", f"{videos} training videos and a GPU: MobileNet-V2 and ResNet-50, both trained"
    reason = f"{videos} training videos and no GPU: two small networks that keep their ImageNet weights"
    if videos >= SMALL_DATA:
        reason += "; --dry-run tells how long that takes"
    return "custom_small", reason
