"""Datasets that the project makes itself, by name and options."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from adafocus_rl.data import DATASETS
from adafocus_rl.experiments.terminal.progress import Ticker
from adafocus_rl.plain import build


def make_embedded(name: str, out: Path, options: dict[str, Any]) -> dict[str, Path]:
    """Makes an embedded dataset, with a progress bar, or finds it complete.

    Args:
        name: of ``adafocus list``.
        out: its folder.
        options: of the dataset's own configuration; empty for its defaults.

    Returns:
        {"train": list file, "val": list file}.

    Raises:
        UserError: unknown dataset or option, or the folder holds something else.
    """
    maker = DATASETS.get(name)
    settings = embedded_config(name, options) if options else None
    with Ticker(f"making {name}", 0) as ticker:
        return maker(out, settings, ticker.to)


def embedded_config(name: str, options: Mapping[str, Any]) -> Any:
    """The configuration of an embedded dataset, as its own dataclass.

    Args:
        name: of ``adafocus list``.
        options: of the dataset; plain data.

    Raises:
        UserError: unknown dataset or option, a wrong type, or a value out of range.
    """
    return build(maker_config(name), options, "data.embedded_options", whose=name)


def maker_config(name: str) -> type[Any]:
    """The dataclass of options that a dataset maker's ``config`` argument is annotated with."""
    annotation = get_type_hints(DATASETS.get(name))["config"]
    kinds: list[type[Any]] = [kind for kind in get_args(annotation) or (annotation,) if inspect.isclass(kind)]
    return next(kind for kind in kinds if kind is not type(None))
