"""Where a stage stands: epochs done, checkpoints, scalars; what lets it go on exactly where it stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from adafocus_rl import checkpoint
from adafocus_rl.experiments.context import Context
from adafocus_rl.experiments.reporting import Ticker
from adafocus_rl.seeding import seed_all


class StageProgress:
    """Epochs of one stage, with a checkpoint after each.

    Every random number of an epoch follows from (seed, stage, epoch), so parameters, optimiser and the epoch's number
    are all that an exact resume needs.

    Args:
        context: the run.
        stage: name of the stage and stem of its checkpoints.
        modules: what is trained or belongs with it, by name.
        optimizer: its optimiser.
        signature: plain values that must be equal for a resume (the recognizer's signature).
    """

    def __init__(
        self,
        context: Context,
        stage: str,
        *,
        modules: Mapping[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        signature: Mapping[str, Any],
    ) -> None:
        self.context = context
        self.stage = stage
        self.modules = modules
        self.optimizer = optimizer
        self.signature = dict(signature)
        self.rotation = checkpoint.CheckpointRotation(context.run.checkpoints, f"{stage}.resume")
        self.seconds = 0.0
        self.done = 0
        latest = self.rotation.latest() if context.resume else None
        if latest is None:
            self.rotation.clear()
        else:
            self._restore(str(latest))
        context.log.begin(stage, self.done)

    def _restore(self, path: str) -> None:
        tensors, manifest = checkpoint.load(path, device=self.context.device)
        for name, module in self.modules.items():
            checkpoint.load_into(module, tensors, prefix=f"{name}.", what=path)
        own = {
            name.removeprefix("optimizer."): value for name, value in tensors.items() if name.startswith("optimizer.")
        }
        checkpoint.restore_optimizer(self.optimizer, own, manifest["optimizer"])
        self.done = int(manifest["step"])
        self.seconds = float(manifest["seconds"])

    def epochs(self, total: int, steps: int) -> Iterator[tuple[int, Ticker]]:
        """Yields (epoch from 0, progress bar of ``steps``) for the epochs still to do."""
        with Ticker(self.stage, total * steps) as ticker:
            ticker.advance(self.done * steps)
            for epoch in range(self.done, total):
                started = time.monotonic()
                seed_all(self.context.config.seed, self.stage, epoch)
                yield epoch, ticker
                ticker.advance((epoch + 1) * steps - ticker.count)
                self.seconds += time.monotonic() - started

    def end_epoch(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Logs the epoch (from 0) and writes the checkpoint to resume from."""
        self.done = epoch + 1
        self.context.log.write(self.stage, self.done, scalars)
        optimizer, plain = checkpoint.optimizer_tensors(self.optimizer)
        tensors: dict[str, Tensor] = {f"optimizer.{name}": value for name, value in optimizer.items()}
        for name, module in self.modules.items():
            tensors.update({f"{name}.{key}": value for key, value in module.state_dict().items()})
        manifest = {"kind": "resume", "stage": self.stage, "optimizer": plain, "seconds": self.seconds}
        self.rotation.save(self.done, tensors, manifest)

    def finish(self) -> None:
        """The stage's own checkpoint is written: the one to resume from is no longer needed."""
        self.rotation.clear()
        self.context.end_loading()


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
        return {name: float(total) / max(1, self._count) for name, total in self._sums.items()}
