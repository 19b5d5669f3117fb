"""The run folder and its files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.run.environment import environment
from adafocus_rl.experiments.run.results import read, refuse_infinite, results
from adafocus_rl.experiments.run.shipped import DEMO, demo_folder, is_demo
from adafocus_rl.experiments.run.steps import kept_before, stale_from
from adafocus_rl.files import append_line, read_json, user_path, write_json, write_text
from adafocus_rl.folders import sync_folder

CONTENT = (
    "config.yaml", "command.txt", "environment.json", "metrics.jsonl", "tensorboard", "checkpoints", "features",
    "features.json", "results.json", "patches.png", "episodes.safetensors", "report.html",
)  # fmt: skip
"""Names of all files and folders that a run writes."""

EVALUATION = "evaluate"
"""Folder of an evaluation's pictures in TensorBoard."""


@dataclass(frozen=True)
class RunFolder:
    """Paths of the files and folders of a run."""

    path: Path

    shipped: bool = False
    """Whether it is the copy of the run that comes with the package."""

    @property
    def output(self) -> Path:
        """Folder for what commands write about the run unless told where: its own, or ``demo`` for the shipped run."""
        return Path("demo") if self.shipped else self.path

    @property
    def config(self) -> Path:
        """The whole configuration, defaults included."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def results(self) -> Path:
        """The table of results."""
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
        """Folder of the run's own feature banks."""
        return self.path / "features"

    @property
    def store(self) -> Path:
        """Note of the shared feature store; absent if the run's features are its own."""
        return self.path / "features.json"

    @property
    def sheet(self) -> Path:
        """The contact sheet."""
        return self.path / "patches.png"

    @property
    def episodes(self) -> Path:
        """Record of the methods' episodes on all validation videos."""
        return self.path / "episodes.safetensors"

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.path / "report.html"

    def checkpoint(self, name: str) -> Path:
        """Return the path of the final checkpoint of ``stage0``, ``stage1``, …"""
        return self.checkpoints / f"{name}.safetensors"

    def bank(self, split: str) -> Path:
        """Return the path of the run's own feature bank of ``train`` or ``val``."""
        return self.features / split

    def describe(self, *, config_text: str, command: str) -> None:
        """Append the command to command.txt, and write environment.json and, as the last file, config.yaml."""
        append_line(self.path / "command.txt", command)
        write_json(self.path / "environment.json", environment())
        # An equal config.yaml is left untouched: a resumed run needs it even if this write fails.
        if not self.config.is_file() or self.config.read_bytes() != config_text.encode():
            write_text(self.config, config_text)

    def discard(self) -> None:
        """Remove everything that a run writes, and nothing else in the folder."""
        # Without a configuration, nothing of what a killed process leaves is taken for a part of the next run.
        _remove(self.config)
        sync_folder(self.path)
        for name in CONTENT:
            _remove(self.path / name)

    def discard_from(self, stage: int) -> list[str]:
        """Remove the files of ``stage`` and later stages, which are stale once the stage is repeated.

        Returns:
            The names under which these stages log.

        Raises:
            UserError: if results.json is damaged; nothing is then removed.
        """
        before = self.read_seconds()
        stale = stale_from(stage)
        logged = {step.name for step in stale if step.leaves != "bank" and not step.knobs}
        # The last step first: what a killed process leaves is then an earlier state of the run.
        for step in reversed(stale):
            if step.leaves == "bank":
                _remove(self.features)
            for path in self.checkpoints.glob(f"{step.name}*" if step.knobs else f"{step.name}.*"):
                # Each operating point logs under its own name, here taken from files such as
                # stage2.skip0.1.resume.step00003.safetensors.
                logged.add(path.name.removesuffix(".safetensors").split(".resume.")[0])
                path.unlink()
        for path in (self.sheet, self.episodes, self.report, self.tensorboard / EVALUATION):
            _remove(path)
        if self.results.is_file():
            # Drop the rows, which belong to the repeated stages: these may be aborted before they write new rows.
            kept = kept_before(stage)
            seconds = {name: spent for name, spent in before.items() if any(step.took(name) for step in kept)}
            self.write_results(results([], seconds, {}))
        return sorted(logged)

    def write_results(self, content: Mapping[str, Any]) -> None:
        """Replace results.json.

        Raises:
            UserError: if a row holds a number that is not finite, since its table would hide that training diverged.
        """
        refuse_infinite(content, self.results)
        write_json(self.results, content)

    def read_results(self) -> dict[str, Any]:
        """Return the content of results.json; if there is no such file, content without rows.

        Raises:
            UserError: if the file is damaged.
        """
        if not self.results.exists():
            return results([], {}, {})
        advice = (
            "delete it and run `adafocus evaluate` or `adafocus train … --resume`, which make it again from the "
            "checkpoints, without the seconds that the stages took"
        )
        try:
            found = read_json(self.results, "results file")
        except UserError as error:
            raise UserError(f"{str(error).removesuffix('; check the file')}; {advice}") from None
        try:
            return read(found)
        except ValueError as error:
            raise UserError(f"the results file {self.results} has {error}; {advice}") from None

    def read_seconds(self) -> dict[str, float]:
        """Return the seconds spent on each stage so far, from results.json; empty if there is no such file."""
        seconds: dict[str, float] = self.read_results()["seconds"]
        return seconds


def named_folder(path: str | Path) -> RunFolder:
    """Return the folder that a run's path names, whether or not there is a run in it.

    Args:
        path: the path, or ``demo:`` for the run that comes with the package.
    """
    return RunFolder(demo_folder(), shipped=True) if is_demo(path) else RunFolder(user_path(path))


def existing_folder(path: str | Path) -> RunFolder:
    """Return the folder of an existing run, given as in ``named_folder``.

    Raises:
        UserError: if the folder is not a run folder.
    """
    run = named_folder(path)
    if not run.config.is_file():
        raise UserError(
            f"{path} is not a run folder: it has no config.yaml; make one with `adafocus train RECIPE --out {path}`"
        )
    return run


def own_folder(path: str | Path) -> RunFolder:
    """Return the folder of a run to write, which may exist.

    Raises:
        UserError: if it is the run that comes with the package.
    """
    if is_demo(path):
        raise UserError(
            f"{DEMO} is the run that comes with the package, and stays as it is; give a folder of your own, such as "
            "runs/mine"
        )
    return RunFolder(user_path(path))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
