"""The registry of datasets that the project, or another installed package, can write to disk by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from adafocus_rl.registry import Registry

Progress = Callable[[int, int], None]
"""Called with (clips written so far, clips to write)."""


class DatasetMaker(Protocol):
    """Writes a dataset into a folder, or finds it there, and returns its list files.

    The annotation of ``config`` names the maker's own dataclass, from which the command line takes its options;
    None stands for the defaults. It may have an attribute ``num_classes``, the number of classes whatever the options.
    """

    def __call__(self, out: Path, config: Any = None, progress: Progress | None = None) -> dict[str, Path]:
        """Write the dataset into ``out``; returns {"train": list file, "val": list file}, and perhaps "stills"."""
        ...


DATASETS: Registry[DatasetMaker] = Registry("dataset", "adafocus_rl.datasets")
