"""The run folder: where everything of a run lies."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from adafocus_rl.errors import UserError
from adafocus_rl.features.shards import write_json


@dataclass(frozen=True)
class RunFolder:
    """Names within a run folder."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def sheet(self) -> Path:
        return self.path / "patches.png"

    def checkpoint(self, name: str) -> Path:
        """The finished checkpoint of ``stage0``, ``stage1``, …"""
        return self.checkpoints / f"{name}.safetensors"

    def bank(self, split: str) -> Path:
        """The feature bank of ``train`` or ``val``."""
        return self.path / "features" / split

    def describe(self, *, config_text: str, command: str) -> None:
        """Writes config.yaml, command.txt (one line per command) and environment.json."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.config.write_text(config_text)
        with (self.path / "command.txt").open("a") as file:
            file.write(command + "\n")
        write_json(self.path / "environment.json", environment())

    def clear(self) -> None:
        """Removes what a run writes, and nothing else that may lie in the folder."""
        for name in ("checkpoints", "features", "tensorboard"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for path in (self.config, self.results, self.metrics, self.sheet, self.path / "command.txt"):
            path.unlink(missing_ok=True)

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Replaces results.json."""
        write_json(self.results, results)

    def read_results(self) -> dict[str, Any]:
        """results.json as far as it is written; empty when there is none."""
        if not self.results.is_file():
            return {}
        content: dict[str, Any] = json.loads(self.results.read_text())
        return content


def open_run(path: str | Path) -> RunFolder:
    """An existing run.

    Raises:
        UserError: when the folder is not a run's.
    """
    run = RunFolder(Path(path).expanduser())
    if not run.config.is_file():
        raise UserError(
            f"{path} is not a run folder: it has no config.yaml; make one with `adafocus train RECIPE --out {path}`"
        )
    return run


def environment() -> dict[str, Any]:
    """Versions and hardware, for results that can be told apart."""
    packages = ("adafocus_rl", "torch", "torchvision", "gymnasium", "numpy", "opencv-python", "av")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {name: _version(name) for name in packages},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except ModuleNotFoundError:
        return None
