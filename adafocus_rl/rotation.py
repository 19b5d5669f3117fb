"""The newest checkpoint of a training step, from which the step resumes."""

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
    """Keeps the newest checkpoint of one training step: ``<stem>.step00012.safetensors``.

    Args:
        folder: folder of the checkpoints; created if missing.
        stem: name of the training step, part of each file name.
    """

    def __init__(self, folder: Path | str, stem: str) -> None:
        self.folder = Path(folder)
        self.stem = stem

    def save(self, step: int, tensors: Mapping[str, Tensor], manifest: Mapping[str, Any]) -> Path:
        """Write the checkpoint of an epoch, then remove all others.

        Checkpoints of later epochs are left over from before a restart. They are removed, too, so that ``latest`` is
        the checkpoint written last.

        Args:
            step: number of the epoch, not negative.
            tensors: as for ``checkpoint.save``.
            manifest: as for ``checkpoint.save``; ``step`` is added here.

        Returns:
            The path of the checkpoint.
        """
        path = self.folder / f"{self.stem}.step{step:05d}.safetensors"
        save(path, tensors=tensors, manifest={**manifest, "step": step})
        for other in self._steps().values():
            if other != path:
                other.unlink(missing_ok=True)
        return path

    def latest(self) -> Path | None:
        """Return the path of the checkpoint with the highest step, or None."""
        steps = self._steps()
        return steps[max(steps)] if steps else None

    def last_step(self) -> int:
        """Return the highest step of a checkpoint, without reading it; 0 if there is none."""
        return max(self._steps(), default=0)

    def load_latest(
        self, *, device: torch.device | str = "cpu"
    ) -> tuple[Path, dict[str, Tensor], dict[str, Any]] | None:
        """Load the checkpoint with the highest step; return its path, tensors and manifest, or None.

        If it is damaged, no older one is loaded instead: that decision is the user's.

        Raises:
            UserError: the checkpoint is damaged; the message says what happens after deleting it.
        """
        path = self.latest()
        if path is None:
            return None
        with self.advising(path):
            return path, *load(path, device=device)

    @contextmanager
    def advising(self, path: Path) -> Iterator[None]:
        """Add advice to errors about a damaged checkpoint raised within the context, which resumes from it.

        Raises:
            UserError: the checkpoint is damaged; the message says which file to delete.
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
