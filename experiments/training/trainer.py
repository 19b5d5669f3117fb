"""The training loop of every step of a run, with supervised or reinforcement learning."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from adafocus_rl import ranks
from adafocus_rl.agents.methods.trainer import AfterEpoch, Learner
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.terminal.progress import Ticker
from adafocus_rl.experiments.training.divergence import Watch
from adafocus_rl.rotation import CheckpointRotation
from adafocus_rl.seeding import seed_all


class RunTrainer:
    """A ``Trainer`` for the steps of a run.

    In a job of several ranks, all call it; the first one writes the log and the checkpoints, from which all resume,
    also with another number of ranks.

    Args:
        run: the run. Checkpoints and logs are written to its folder; if it is resumed, each step continues after its
            last epoch.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    def fit(
        self, step: str, learner: Learner, *, epochs: int, ticks: int, after_epoch: AfterEpoch | None = None
    ) -> float:
        """Train a learner for all of its passes, with a line in the log and a checkpoint after each.

        The random numbers of an epoch depend on (seed, step, epoch) only, so parameters, optimiser state and the number
        of the epoch are enough to resume exactly.

        Args:
            step: name of the step, one of those in ``adafocus_rl.experiments.run.steps`` or a method's own.
            learner: the learner to train.
            epochs: total number of passes.
            ticks: steps of one pass, for the progress bar.
            after_epoch: called after each pass, before the checkpoint is written.

        Returns:
            Seconds of training, including those of earlier processes.

        Raises:
            UserError: if a loss or a parameter is NaN or infinite (nothing of that epoch is written), or the checkpoint
                to resume from belongs to another architecture or another training list.
        """
        run = self.run
        if run.trainer is not None:
            return run.trainer.fit(step, learner, epochs=epochs, ticks=ticks, after_epoch=after_epoch)
        rotation = CheckpointRotation(run.folder.checkpoints, f"{step}.resume")
        done, seconds = self._resume(rotation, learner) if run.resume else (0, 0.0)
        ranks.first(lambda: run.log.forget(step, after=done))
        with Ticker(step, epochs * ticks) as ticker:
            ticker.skip(done * ticks)
            for epoch in range(done, epochs):
                started = time.monotonic()
                seed_all(run.config.seed, step, epoch)
                watch = Watch(run, step, epoch, ticker)
                with watch.explaining(learner):
                    scalars = dict(learner.train_epoch(epoch, watch))
                # An undecodable video may have left the epoch a step short.
                ticker.advance((epoch + 1) * ticks - ticker.count)
                tensors, plain = learner.training_state()
                watch.refuse(scalars, tensors)
                if after_epoch is not None:
                    scalars.update(after_epoch(epoch + 1, scalars))
                ticker.advance(0, beside_the_bar(scalars))
                seconds += time.monotonic() - started
                manifest = {"kind": "resume", "stage": step, "seconds": seconds, "training": plain}
                ranks.first(partial(self._write, rotation, epoch + 1, scalars, tensors, manifest))
        return seconds

    def _write(
        self,
        rotation: CheckpointRotation,
        done: int,
        scalars: Mapping[str, float],
        tensors: Mapping[str, Tensor],
        manifest: Mapping[str, Any],
    ) -> None:
        self.run.log.write(manifest["stage"], done, scalars)
        rotation.save(done, tensors, {**manifest, "index": self.run.clips.index_hashes})

    def _resume(self, rotation: CheckpointRotation, learner: Learner) -> tuple[int, float]:
        """Restore the learner from the last checkpoint, if any, and return the epochs done and the seconds spent."""
        latest = rotation.load_latest(device=self.run.device)
        if len(set(ranks.gather(None if latest is None else latest[0].name))) > 1:
            raise UserError(
                f"the processes do not find the same checkpoints in {rotation.folder}; put the run folder on a disk "
                "that all machines share"
            )
        if latest is None:
            return 0, 0.0
        path, tensors, manifest = latest
        with rotation.advising(path):
            if manifest["index"] != self.run.clips.index_hashes:
                raise UserError(
                    f"a training list has changed since {path} was written; restore it, or begin anew with --overwrite"
                )
            # Old checkpoints of supervised steps have these plain values at the top level of the manifest.
            learner.load_training_state(tensors, manifest.get("training", manifest), what=str(path))
            return int(manifest["step"]), float(manifest["seconds"])


def beside_the_bar(scalars: Mapping[str, float]) -> str:
    """Return the numbers to show during training: those of the validation, or losses and accuracy without one."""
    if "eval/top1" in scalars:
        reward = scalars.get("rollout/ep_rew_mean", float("nan"))
        kept = f" kept {scalars['eval/kept']:.2f}" if "eval/kept" in scalars else ""
        return f"reward {reward:.3f} top-1 {scalars['eval/top1']:.3f}{kept}"
    named = {name.removeprefix("train/"): value for name, value in scalars.items()}
    losses = [
        f"{name.removesuffix('loss').removesuffix('_')} {value:.3f}".strip()
        for name, value in named.items()
        if name.endswith("loss")
    ]
    top1 = f" top-1 {named['top1']:.3f}" if "top1" in named else ""
    return f"loss {' '.join(losses)}{top1}" if losses else ""
