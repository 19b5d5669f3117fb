"""The one training loop: every step of a run goes through it, supervised or by reinforcement."""

from __future__ import annotations

import time
from collections.abc import Mapping

from adafocus_rl.agents.methods.trainer import AfterEpoch, Learner
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.terminal.progress import Ticker
from adafocus_rl.experiments.training.divergence import Watch
from adafocus_rl.rotation import CheckpointRotation
from adafocus_rl.seeding import seed_all


class RunTrainer:
    """Trains the steps of a run; a ``Trainer``.

    Args:
        run: whose folder gets the checkpoints and the logs. If it is resumed, each step goes on from its last epoch.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    def fit(
        self, step: str, learner: Learner, *, epochs: int, ticks: int, after_epoch: AfterEpoch | None = None
    ) -> float:
        """Let a learner make its passes, with a line of the log and a checkpoint after each.

        The random numbers of an epoch follow from (seed, step, epoch), so parameters, optimiser and the number of the
        epoch are all that an exact resume needs.

        Args:
            step: name of the step; ``steps`` says more about those that it declares.
            learner: who learns.
            epochs: passes in all.
            ticks: steps of one pass, for the progress bar.
            after_epoch: is called after each pass, before the checkpoint is written.

        Returns:
            Seconds of training, those of earlier processes included.

        Raises:
            UserError: a loss or a parameter is NaN or infinite (nothing of that epoch is written), or the checkpoint to
                resume from is of another architecture or another training list.
        """
        run = self.run
        rotation = CheckpointRotation(run.folder.checkpoints, f"{step}.resume")
        done, seconds = self._resume(rotation, learner) if run.resume else (0, 0.0)
        run.log.forget(step, after=done)
        with Ticker(step, epochs * ticks) as ticker:
            ticker.advance(done * ticks)
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
                run.log.write(step, epoch + 1, scalars)
                index = run.clips.index_hashes
                manifest = {"kind": "resume", "stage": step, "seconds": seconds, "training": plain, "index": index}
                rotation.save(epoch + 1, tensors, manifest)
        return seconds

    def _resume(self, rotation: CheckpointRotation, learner: Learner) -> tuple[int, float]:
        """Epochs done and seconds spent; the learner is where it was then."""
        latest = rotation.load_latest(device=self.run.device)
        if latest is None:
            return 0, 0.0
        path, tensors, manifest = latest
        with rotation.advising(path):
            if manifest["index"] != self.run.clips.index_hashes:
                raise UserError(
                    f"a training list has changed since {path} was written; restore it, or begin anew with --overwrite"
                )
            # Supervised steps once wrote the plain values of their training beside the others.
            learner.load_training_state(tensors, manifest.get("training", manifest), what=str(path))
            return int(manifest["step"]), float(manifest["seconds"])


def beside_the_bar(scalars: Mapping[str, float]) -> str:
    """The numbers to look at while it trains: the validation's, or losses and accuracy where there was none."""
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
