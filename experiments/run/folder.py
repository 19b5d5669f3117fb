"""The run folder: where everything of a run lies."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.run.environment import environment
from adafocus_rl.experiments.run.results import read, refuse_infinite, results
from adafocus_rl.experiments.run.steps import kept_before, stale_from
from adafocus_rl.files import append_line, read_json, user_path, write_json, write_text

CONTENT = (
    "config.yaml", "command.txt", "environment.json", "metrics.jsonl", "tensorboard", "checkpoints", "features",
    "features.json", "results.json", "patches.png", "episodes.safetensors", "report.html",
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
        """Folder of the run's own feature banks."""
        return self.path / "features"

    @property
    def store(self) -> Path:
        """Where the features lie if the run shares them with others."""
        return self.path / "features.json"

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
        """The run's own feature bank of ``train`` or ``val``."""
        return self.features / split

    def describe(self, *, config_text: str, command: str) -> None:
        """Write config.yaml, command.txt (one line per command) and environment.json."""
        # What is there already is not touched: a run that goes on needs it, whatever happens to this write.
        if not self.config.is_file() or self.config.read_bytes() != config_text.encode():
            write_text(self.config, config_text)
        append_line(self.path / "command.txt", command)
        write_json(self.path / "environment.json", environment())

    def discard(self) -> None:
        """Remove what a run writes, and nothing else that may lie in the folder."""
        for name in CONTENT:
            _remove(self.path / name)

    def discard_from(self, stage: int) -> list[str]:
        """Remove what ``stage`` and those after it left: all of it is stale once the stage is done anew.

        Returns:
            The names under which these stages log.

        Raises:
            UserError: results.json is damaged; nothing is removed then.
        """
        before = self.read_seconds()
        stale = stale_from(stage)
        logged = {step.name for step in stale if step.leaves != "bank" and not step.knobs}
        for step in stale:
            if step.leaves == "bank":
                _remove(self.features)
            for path in self.checkpoints.glob(f"{step.name}*" if step.knobs else f"{step.name}.*"):
                # Those of knobs log under names of their own: stage2.skip0.1.resume.step00003, say.
                logged.add(path.name.removesuffix(".safetensors").split(".resume.")[0])
                path.unlink()
        for path in (self.sheet, self.episodes, self.report):
            _remove(path)
        if self.results.is_file():
            # Its rows are of what is done anew, and the stages may be aborted.
            kept = kept_before(stage)
            seconds = {name: spent for name, spent in before.items() if any(step.took(name) for step in kept)}
            self.write_results(results([], seconds, {}))
        return sorted(logged)

    def write_results(self, content: Mapping[str, Any]) -> None:
        """Replace results.json.

        Raises:
            UserError: a row holds a number that is none: no table must look as if all were well.
        """
        refuse_infinite(content, self.results)
        write_json(self.results, content)

    def read_results(self) -> dict[str, Any]:
        """Content of results.json; without rows when there is none.

        Raises:
            UserError: the file is damaged.
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
        """Seconds per stage so far, from results.json; empty when there is none."""
        seconds: dict[str, float] = self.read_results()["seconds"]
        return seconds


def existing_folder(path: str | Path) -> RunFolder:
    """The folder of a run that exists.

    Raises:
        UserError: when the folder is not a run's.
    """
    run = RunFolder(user_path(path))
    if not run.config.is_file():
        raise UserError(
            f"{path} is not a run folder: it has no config.yaml; make one with `adafocus train RECIPE --out {path}`"
        )
    return run


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
