"""Embedded datasets, which the package generates itself: made from a name and options."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from adafocus_rl.data import DATASETS
from adafocus_rl.experiments.terminal.progress import Ticker
from adafocus_rl.plain import build


def make_embedded(name: str, out: Path, options: dict[str, Any]) -> dict[str, Path]:
    """Make an embedded dataset with a progress bar, unless it is already complete.

    Args:
        name: a dataset name from ``adafocus list``.
        out: the dataset's folder.
        options: options of the dataset's own configuration; empty uses its defaults.

    Returns:
        {"train": list file, "val": list file}.

    Raises:
        UserError: if the dataset or an option is unknown, or the folder holds something else.
    """
    maker = DATASETS.get(name)
    settings = embedded_config(name, options) if options else None
    with Ticker(f"making {name}", 0) as ticker:
        return maker(out, settings, ticker.to)


def embedded_config(name: str, options: Mapping[str, Any]) -> Any:
    """Return the configuration of an embedded dataset as its own dataclass.

    Args:
        name: a dataset name from ``adafocus list``.
        options: options of the dataset as plain data.

    Raises:
        UserError: if the dataset or an option is unknown, or a value has the wrong type or is out of range.
    """
    return build(maker_config(name), options, "data.embedded_options", whose=name)


def maker_config(name: str) -> type[Any]:
    """Return the options dataclass that annotates the ``config`` argument of a dataset maker."""
    annotation = get_type_hints(DATASETS.get(name))["config"]
    kinds: list[type[Any]] = [kind for kind in get_args(annotation) or (annotation,) if inspect.isclass(kind)]
    return next(kind for kind in kinds if kind is not type(None))
