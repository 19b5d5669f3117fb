"""The registry of datasets that this or another installed package can write to disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from adafocus_rl.registry import Registry

Progress = Callable[[int, int], None]
"""Called with (number of clips written, number of clips to write)."""


class DatasetMaker(Protocol):
    """Writes a dataset into a folder unless it is there already, and returns its list files.

    The annotation of ``config`` is the maker's own dataclass, which defines its command-line options; None selects the
    defaults. A maker may have an attribute ``num_classes``, the number of classes for any options.
    """

    def __call__(self, out: Path, config: Any = None, progress: Progress | None = None) -> dict[str, Path]:
        """Write the dataset into ``out``; return {"train": list file, "val": list file} and optionally "stills"."""
        ...


DATASETS: Registry[DatasetMaker] = Registry(
    "dataset",
    "adafocus_rl.datasets",
    {
        "moving_digits": "adafocus_rl.data.moving_digits:make_moving_digits",
        "moving_digits_long": "adafocus_rl.data.moving_digits_long:make_moving_digits_long",
        "moving_products": "adafocus_rl.data.moving_products:make_moving_products",
    },
)
"""Datasets by name, for ``data.embedded`` and ``adafocus data make``."""
