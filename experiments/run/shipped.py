"""The small trained run that comes with the package; its name is ``demo:`` wherever a run is named.

The package may be read-only, and a run's lists are named by absolute paths. The run is therefore copied into the user's
cache before its first use. The copy is an ordinary run folder; if it is deleted, the next use makes it again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from functools import cache
from importlib.resources import files
from pathlib import Path

from adafocus_rl.errors import UserError
from adafocus_rl.files import user_path
from adafocus_rl.folders import first_folder
from adafocus_rl.yaml_text import dump_yaml, read_yaml

DEMO = "demo:"
"""Name of the run that comes with the package."""

CACHE = "ADAFOCUS_CACHE"
"""Environment variable with the folder of the copy; without it, ``adafocus_rl`` in the user's cache."""

PACKED = Path(str(files("adafocus_rl.experiments") / "demo"))
"""The run in the package. ``make demo-run`` makes it; ``demo.json`` says from what."""

LISTS = {"train_list": "clips/train.csv", "val_list": "clips/val.csv"}
"""Lists of the run by their key in ``data``, relative to its folder."""


def is_demo(name: str | Path) -> bool:
    """Return whether a run's name is that of the run that comes with the package."""
    return str(name) == DEMO


def cache_folder() -> Path:
    """Return the folder of what the package keeps for the user.

    Raises:
        UserError: if the user has no home folder, and no variable names another one.
    """
    if own := os.environ.get(CACHE):
        return user_path(own).absolute()
    return user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").absolute() / "adafocus_rl"


def demo_folder() -> Path:
    """Return the folder of the shipped run's copy, and make the copy if there is none.

    Raises:
        UserError: if it cannot be written.
    """
    folder = cache_folder() / f"demo-{_version()}"
    if (folder / "config.yaml").is_file():
        return folder
    try:
        # Without a configuration it is no run: somebody has deleted parts of it.
        shutil.rmtree(folder, ignore_errors=True)
        with first_folder(folder) as part:
            for path in filter(Path.is_file, PACKED.rglob("*")):
                copy = part / path.relative_to(PACKED)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)  # without its permissions: the package may be read-only
            values = read_yaml(part / "config.yaml", "configuration file")
            values["data"] |= {key: str(folder / name) for key, name in LISTS.items()}
            (part / "config.yaml").write_text(dump_yaml(values), encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"the run {DEMO} is copied into {folder} before its first use, which failed ({error.strerror}); name a "
            f"folder that can be written in the environment variable {CACHE}"
        ) from None
    return folder


def demo_clips(split: str = "val") -> list[Path]:
    """Return the clips of the shipped run's copy, in the order of their list.

    Args:
        split: ``train`` or ``val``.

    Raises:
        UserError: if the copy cannot be written.
    """
    return sorted((demo_folder() / "clips" / split).glob("*.mp4"))


@cache
def _version() -> str:
    """Return what tells the shipped run of this package from that of another version."""
    return hashlib.sha256((PACKED / "demo.json").read_bytes()).hexdigest()[:8]
