"""Where a stage stands: epochs done, checkpoints, scalars; what lets it go on exactly where it stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from adafocus_rl import checkpoint
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.terminal.progress import Ticker
from adafocus_rl.experiments.training.divergence import refuse_divergence
from adafocus_rl.optimizer_state import optimizer_tensors, restore_optimizer
from adafocus_rl.rotation import CheckpointRotation
from adafocus_rl.seeding import seed_all


class StageProgress:
    """Epochs of one stage, with a checkpoint after each.

    Every random number of an epoch follows from (seed, stage, epoch), so parameters, optimiser and the epoch's number
    are all that an exact resume needs.

    Args:
        run: the run.
        stage: name of the stage and stem of its checkpoints.
        modules: what is trained or belongs with it, by name.
        optimizer: its optimiser.
        scaler: of its losses, if it has one.

    Attributes:
        done: epochs done.
        seconds: time spent on them, in earlier processes too.

    Raises:
        UserError: the checkpoint to resume from is of another architecture or another training list.
    """

    def __init__(
        self,
        run: Run,
        stage: str,
        *,
        modules: Mapping[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.run = run
        self.stage = stage
        self.modules = modules
        self.optimizer = optimizer
        self.scaler = scaler
        self.rotation = CheckpointRotation(run.folder.checkpoints, f"{stage}.resume")
        self.seconds = 0.0
        self.done = 0
        self._started = time.monotonic()
        latest = self.rotation.load_latest(device=run.device) if run.resume else None
        if latest is not None:
            path, tensors, manifest = latest
            with self.rotation.advising(path):
                self._restore(str(path), tensors, manifest)
        run.log.forget(stage, after=self.done)

    def _restore(self, path: str, tensors: Mapping[str, Tensor], manifest: Mapping[str, Any]) -> None:
        check_index(self.run, manifest, path)
        for name, module in self.modules.items():
            checkpoint.load_into(module, tensors, prefix=f"{name}.", what=path)
        own = {
            name.removeprefix("optimizer."): value for name, value in tensors.items() if name.startswith("optimizer.")
        }
        try:
            restore_optimizer(self.optimizer, own, manifest["optimizer"])
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        if self.scaler is not None and manifest.get("scaler"):
            self.scaler.load_state_dict(manifest["scaler"])
        self.done = int(manifest["step"])
        self.seconds = float(manifest["seconds"])

    def epochs(self, total: int, steps: int) -> Iterator[tuple[int, Ticker]]:
        """Yields (epoch from 0, progress bar of ``steps``) for the epochs still to do."""
        with Ticker(self.stage, total * steps) as ticker:
            ticker.advance(self.done * steps)
            for epoch in range(self.done, total):
                self._started = time.monotonic()
                seed_all(self.run.config.seed, self.stage, epoch)
                yield epoch, ticker
                # An undecodable video may have left the epoch a step short.
                ticker.advance((epoch + 1) * steps - ticker.count)

    def end_epoch(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Logs the epoch (from 0) and writes the checkpoint to resume from.

        Raises:
            UserError: the loss or a parameter is not finite; nothing of the epoch is written.
        """
        tensors = self._tensors()
        refuse_divergence(self.run, self.stage, epoch + 1, scalars, tensors)
        self.done = epoch + 1
        self.seconds += time.monotonic() - self._started
        self.run.log.write(self.stage, self.done, scalars)
        manifest = {
            "kind": "resume", "stage": self.stage, "seconds": self.seconds,
            "optimizer": optimizer_tensors(self.optimizer)[1],
            "index": self.run.clips.index_hashes, "scaler": self.scaler.state_dict() if self.scaler is not None else {},
        }  # fmt: skip
        self.rotation.save(self.done, tensors, manifest)

    def _tensors(self) -> dict[str, Tensor]:
        """The optimiser's and the modules', which share memory with them."""
        modules = {
            f"{name}.{key}": value
            for name, module in self.modules.items()
            for key, value in module.state_dict().items()
        }
        optimizer, _ = optimizer_tensors(self.optimizer)
        return {**modules, **{f"optimizer.{name}": value for name, value in optimizer.items()}}


def check_index(run: Run, manifest: Mapping[str, object], path: str) -> None:
    """Refuses to resume on another training list.

    Raises:
        UserError: the list's content is not what it was.
    """
    if manifest["index"] != run.clips.index_hashes:
        raise UserError(
            f"a training list has changed since {path} was written; restore it, or begin anew with --overwrite"
        )


class Mean:
    """Means of scalars that stay on the device until they are asked for."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, count: int, **scalars: Tensor) -> None:
        """Adds scalars that are means over ``count`` items."""
        self._count += count
        for name, value in scalars.items():
            self._sums[name] = self._sums.get(name, torch.zeros((), device=value.device)) + value.detach() * count

    def values(self) -> dict[str, float]:
        """The means so far."""
        return {name: float(total) / self._count for name, total in self._sums.items()}
