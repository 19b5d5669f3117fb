"""Rotation of a stage's checkpoints: the newest ones, from which it resumes, and the best one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adafocus_rl.checkpoint import DamagedCheckpointError, load, reading, save
from adafocus_rl.errors import UserError


class CheckpointRotation:
    """The newest checkpoints of one stage, and the best one.

    Files: ``<stem>.step00012.safetensors`` for the newest ``keep`` steps, ``<stem>.best.safetensors`` for the
    highest metric so far. The best one's metric is read back from its manifest, so a resumed run goes on
    comparing with it.

    Args:
        folder: made when missing.
        stem: the stage's name, part of each file name.
        keep: number of newest steps to keep, at least 1.
    """

    def __init__(self, folder: Path | str, stem: str, keep: int = 1) -> None:
        if keep < 1:
            raise ValueError(f"keep is {keep}; expected at least 1")
        self.folder = Path(folder)
        self.stem = stem
        self.keep = keep

    @property
    def best_path(self) -> Path:
        """Where the best checkpoint lies once a metric was given."""
        return self.folder / f"{self.stem}.best.safetensors"

    def save(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        manifest: Mapping[str, Any],
        metric: float | None = None,
    ) -> Path:
        """Write the checkpoint of ``step``, then remove those that are no longer due.

        Later steps than this one come from a run that was started over; they are removed too, so that
        ``latest`` is what was written last.

        Args:
            step: epoch or update number, not negative.
            tensors: as in ``save``.
            manifest: as in ``save``; ``step`` and ``metric`` are filled in here.
            metric: higher is better; None or NaN leaves the best checkpoint as it is.

        Returns:
            The path written.
        """
        manifest = {**manifest, "step": step, "metric": metric}
        path = self.folder / f"{self.stem}.step{step:05d}.safetensors"
        save(path, tensors=tensors, manifest=manifest)
        if metric is not None and not math.isnan(metric) and metric > self._best_metric():
            save(self.best_path, tensors=tensors, manifest=manifest)
        steps = self._steps()
        due = [other for other in sorted(steps) if other <= step][-self.keep :]
        for other, stale in steps.items():
            if other not in due:
                stale.unlink(missing_ok=True)
        return path

    def latest(self) -> Path | None:
        """The checkpoint of the highest step, or None when there is none."""
        steps = self._steps()
        return steps[max(steps)] if steps else None

    def load_latest(
        self, *, device: torch.device | str = "cpu"
    ) -> tuple[Path, dict[str, Tensor], dict[str, Any]] | None:
        """The checkpoint of the highest step, read; None when there is none.

        A damaged one is not passed over for an older one: what that means is the user's to decide.

        Raises:
            UserError: it is damaged; the message tells what happens when it is deleted.
        """
        path = self.latest()
        if path is None:
            return None
        with self.advising(path):
            return path, *load(path, device=device)

    @contextmanager
    def advising(self, path: Path) -> Iterator[None]:
        """A block that goes on from a checkpoint; where it is damaged, the message says what to delete.

        Raises:
            UserError: it is damaged.
        """
        try:
            with reading(path):
                yield
        except DamagedCheckpointError as error:
            older = [step for step, other in self._steps().items() if other != path]
            then = f"goes on after epoch {max(older)}" if older else "begins anew"
            stage = self.stem.removesuffix(".resume")
            raise UserError(
                f"checkpoint {path}, from which {stage} is to go on, cannot be used: {error.reason}; delete this file, "
                f"and {stage} {then} with the same command with --resume; what was finished before it stays"
            ) from error

    def clear(self) -> None:
        """Remove every checkpoint of this stem, the best one too: the stage starts over."""
        for path in [*self._steps().values(), self.best_path]:
            path.unlink(missing_ok=True)

    def _steps(self) -> dict[int, Path]:
        pattern = re.compile(re.escape(self.stem) + r"\.step(\d+)\.safetensors")
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        return {int(match[1]): path for path in found if (match := pattern.fullmatch(path.name))}

    def _best_metric(self) -> float:
        if not self.best_path.is_file():
            return -math.inf
        metric = load(self.best_path)[1].get("metric")
        return -math.inf if metric is None else float(metric)
