"""The newest checkpoint of a step of training, from which it resumes."""

from __future__ import annotations

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
    """The newest checkpoint of one step of training: ``<stem>.step00012.safetensors``.

    Args:
        folder: made when missing.
        stem: the step's name, part of each file name.
    """

    def __init__(self, folder: Path | str, stem: str) -> None:
        self.folder = Path(folder)
        self.stem = stem

    def save(self, step: int, tensors: Mapping[str, Tensor], manifest: Mapping[str, Any]) -> Path:
        """Write the checkpoint of an epoch, then remove all others.

        Epochs after this one come from a run that was started over; without them ``latest`` is what was written
        last.

        Args:
            step: number of the epoch, not negative.
            tensors: as in ``save``.
            manifest: as there; ``step`` is filled in here.

        Returns:
            The path written.
        """
        path = self.folder / f"{self.stem}.step{step:05d}.safetensors"
        save(path, tensors=tensors, manifest={**manifest, "step": step})
        for other in self._steps().values():
            if other != path:
                other.unlink(missing_ok=True)
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

    def _steps(self) -> dict[int, Path]:
        pattern = re.compile(re.escape(self.stem) + r"\.step(\d+)\.safetensors")
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        return {int(match[1]): path for path in found if (match := pattern.fullmatch(path.name))}
