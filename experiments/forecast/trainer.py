"""A training loop that makes parts of two epochs, and counts the others."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from adafocus_rl.agents.learner import Learner, Tick
from adafocus_rl.agents.methods.trainer import AfterEpoch
from adafocus_rl.experiments.forecast.meter import Meter
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.training.trainer import RunTrainer

LONG = 5.0
"""Seconds of the measured parts of the first epoch, warm-up included, from which no second one is made."""


class SampleTrainer:
    """A ``Trainer`` that makes parts of up to two epochs of each step.

    Args:
        run: the run, whose batches are those of a sample.
        videos: number of all training videos.
        meter: counts the other epochs.
        done: returns the number of epochs of a step, given by its name, that an earlier process has finished.

    Attributes:
        seconds: seconds of each step that are left, by name.
        epochs: number of epochs that are left.
        state_bytes: size of each step's checkpoint to resume from.
    """

    def __init__(self, run: Run, *, videos: int, meter: Meter, done: Callable[[str], int]) -> None:
        # Without this trainer in the place of its own, and from the first epoch.
        self.run = copy.copy(run)
        self.run.resume = False
        self.videos = videos
        self.meter = meter
        self.done = done
        self.seconds: dict[str, float] = {}
        self.epochs: dict[str, int] = {}
        self.state_bytes: dict[str, int] = {}

    def fit(
        self, step: str, learner: Learner, *, epochs: int, ticks: int, after_epoch: AfterEpoch | None = None
    ) -> float:
        """Train for parts of up to two epochs; return the seconds of all epochs that are left."""
        left = max(0, epochs - self.done(step))
        began, real, stamps = self.meter.now(), self.meter.real(), [self.meter.now()]

        def after(done: int, scalars: Mapping[str, float]) -> Mapping[str, float]:
            more = {} if after_epoch is None else after_epoch(done, scalars)
            stamps.append(self.meter.now())
            if done == 1 and self.meter.real() - real > LONG:
                raise _LongEpochError
            return more

        counted = _CountedLearner(learner, steps_per_video=self.run.clips.train.num_steps, trainer=self)
        with contextlib.suppress(_LongEpochError):
            RunTrainer(self.run).fit(step, counted, epochs=min(left, 2), ticks=ticks, after_epoch=after)
        if left:
            # From the end of one epoch to that of the next, so that a checkpoint and the log are in it.
            self.meter.add((stamps[-1] - stamps[-2]) * (left - len(stamps) + 1))
        tensors = learner.training_state()[0].values()
        self.state_bytes[step] = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        self.seconds[step], self.epochs[step] = self.meter.now() - began, left
        return self.seconds[step]


class _LongEpochError(Exception):
    """Raised after a first epoch that took so long that no second one is needed."""


class _CountedLearner:
    """A learner; an epoch that is no pass over batches is counted as one over all videos.

    Stable-Baselines3 steps an environment instead, as often as the sample's videos have steps, in whole rollouts.

    Args:
        learner: the learner.
        steps_per_video: T.
        trainer: provides the meter and the number of videos.
    """

    def __init__(self, learner: Learner, *, steps_per_video: int, trainer: SampleTrainer) -> None:
        self.learner = learner
        self.steps_per_video = steps_per_video
        self.trainer = trainer
        self._pass = 0.0

    def train_epoch(self, epoch: int, tick: Tick) -> Mapping[str, float]:
        """Make a part of a pass."""
        meter = self.trainer.meter
        began, passes, before = meter.now(), meter.passes, self._steps()
        scalars = self.learner.train_epoch(epoch, tick)
        if meter.passes == passes:
            spent, made = meter.now() - began, (self._steps() - before) / self.steps_per_video
            # The rollout of one epoch may reach beyond the end of the sample's next one.
            self._pass = spent / made * self.trainer.videos if made else self._pass
            meter.add(self._pass - spent)
        return scalars

    def _steps(self) -> int:
        return int(self.learner.training_state()[1].get("num_timesteps", 0))

    def training_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the learner's state."""
        return self.learner.training_state()

    def load_training_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any], *, what: str) -> None:
        """Restore the learner's state."""
        self.learner.load_training_state(tensors, plain, what=what)
