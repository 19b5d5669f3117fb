"""The run folder: where everything of a run lies."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from adafocus_rl.errors import UserError
from adafocus_rl.files import user_path, write_json

CONTENT = (
    "config.yaml", "command.txt", "environment.json", "metrics.jsonl", "tensorboard", "checkpoints", "features",
    "results.json", "patches.png", "episodes.safetensors", "report.html",
)  # fmt: skip
"""Everything that a run writes."""


@dataclass(frozen=True)
class RunFolder:
    """Names within a run folder."""

    path: Path

    @property
    def config(self) -> Path:
        """The whole configuration, defaults written out."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def results(self) -> Path:
        """The results table."""
        return self.path / "results.json"

    @property
    def metrics(self) -> Path:
        """Scalars, one line per epoch."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """Scalars as event files, one folder per stage."""
        return self.path / "tensorboard"

    @property
    def features(self) -> Path:
        """Folder of feature banks."""
        return self.path / "features"

    @property
    def sheet(self) -> Path:
        """The contact sheet."""
        return self.path / "patches.png"

    @property
    def episodes(self) -> Path:
        """What the agents of the results table did in every validation video."""
        return self.path / "episodes.safetensors"

    @property
    def report(self) -> Path:
        """The page to look at."""
        return self.path / "report.html"

    def checkpoint(self, name: str) -> Path:
        """The finished checkpoint of ``stage0``, ``stage1``, …"""
        return self.checkpoints / f"{name}.safetensors"

    def bank(self, split: str) -> Path:
        """The feature bank of ``train`` or ``val``."""
        return self.features / split

    def describe(self, *, config_text: str, command: str) -> None:
        """Writes config.yaml, command.txt (one line per command) and environment.json."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.config.write_text(config_text, encoding="utf-8")
        with (self.path / "command.txt").open("a", encoding="utf-8") as file:
            file.write(command + "\n")
        write_json(self.path / "environment.json", environment())

    def discard(self) -> None:
        """Removes what a run writes, and nothing else that may lie in the folder."""
        for name in CONTENT:
            _remove(self.path / name)

    def discard_from(self, stage: int) -> list[str]:
        """Removes what ``stage`` and those after it left: all of it is stale once the stage is done anew.

        Returns:
            The names under which these stages log.
        """
        names = [f"stage{number}" for number in range(stage, 4)]
        if stage < 2:
            names.append("full_frame")
            _remove(self.features)
        logged = {*names, *(["stage0.stills"] if stage == 0 else [])}
        for name in names:
            for path in self.checkpoints.glob(f"{name}.*"):
                # A stage may have parts, which log under names of their own: stage2.skip0.1.resume.step00003, say.
                logged.add(path.name.removesuffix(".safetensors").split(".resume.")[0])
                path.unlink()
        for path in (self.sheet, self.episodes, self.report):
            _remove(path)
        return sorted(logged)

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Replaces results.json."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.results, results)

    def read_results(self) -> dict[str, Any]:
        """Content of results.json; without rows when there is none."""
        if not self.results.is_file():
            return {"rows": [], "seconds": {}, "failed": []}
        found: dict[str, Any] = json.loads(self.results.read_text(encoding="utf-8"))
        return found

    def read_seconds(self) -> dict[str, float]:
        """Seconds per stage so far, from results.json; empty when there is none."""
        seconds: dict[str, float] = self.read_results()["seconds"]
        return seconds


def open_run(path: str | Path) -> RunFolder:
    """An existing run.

    Raises:
        UserError: when the folder is not a run's.
    """
    run = RunFolder(user_path(path))
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
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {name: _version(name) for name in packages},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        # OpenCV, for one, may be there under another package's name.
        return None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
