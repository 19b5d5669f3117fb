"""The training loop that is handed to methods: they say what one pass is, it does the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from adafocus_rl.agents.learner import Learner, Tick

__all__ = ["AfterEpoch", "Learner", "Tick", "Trainer"]

AfterEpoch = Callable[[int, Mapping[str, float]], Mapping[str, float]]
"""Takes the number of epochs done and the epoch's scalars; returns further scalars to log, a validation's, say."""


class Trainer(Protocol):
    """Owns the loop: epochs, resuming, checkpoints, logs, progress, and the end of a training that diverges."""

    def fit(
        self, step: str, learner: Learner, *, epochs: int, ticks: int, after_epoch: AfterEpoch | None = None
    ) -> float:
        """Let a learner make all of its passes, or those that a resumed run has left.

        Args:
            step: name of the step in logs, and stem of its checkpoints.
            learner: who learns.
            epochs: passes in all.
            ticks: steps of one pass, for the progress bar.
            after_epoch: is called after each pass, before the checkpoint is written.

        Returns:
            Seconds of training, those of earlier processes included.

        Raises:
            UserError: a loss or a parameter is NaN or infinite, or the checkpoint to resume from does not fit.
        """
        ...
