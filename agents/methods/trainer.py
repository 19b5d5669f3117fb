"""Interface of the training loop for methods: a method defines one pass, the loop does the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from adafocus_rl.agents.learner import Learner, Tick

__all__ = ["AfterEpoch", "Learner", "Tick", "Trainer"]

AfterEpoch = Callable[[int, Mapping[str, float]], Mapping[str, float]]
"""Called with the number of epochs done and the epoch's scalars; returns further scalars to log."""


class Trainer(Protocol):
    """The training loop: epochs, resuming, checkpoints, logs, progress, and the handling of training that diverges."""

    def fit(
        self, step: str, learner: Learner, *, epochs: int, ticks: int, after_epoch: AfterEpoch | None = None
    ) -> float:
        """Train a learner for all of its passes, or for those that remain in a resumed run.

        Args:
            step: name of the step in logs, and stem of its checkpoints' names.
            learner: the learner to train.
            epochs: total number of passes.
            ticks: steps of one pass, for the progress bar.
            after_epoch: called after each pass, before the checkpoint is written.

        Returns:
            Seconds of training, including those of earlier processes.

        Raises:
            UserError: if a loss or a parameter is NaN or infinite, or the checkpoint to resume from does not fit.
        """
        ...
