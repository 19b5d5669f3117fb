"""Interface between a training loop and a learner: one pass over the data at a time, and the state to resume from.

A ``Learner`` defines what happens within a pass. Epochs, checkpoints, logs and the handling of training that
diverges belong to the loop, ``Trainer``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor


class Tick(Protocol):
    """Callback with which a learner reports its progress within a pass."""

    def __call__(self, steps: int = 1, *, loss: Tensor | None = None, rows: Tensor | None = None) -> None:
        """Report that steps are done.

        Args:
            steps: number of steps done since the last report; 0 reports a loss only.
            loss: scalar on any device. It is read later, so that no step waits for the device.
            rows: (B,) rows of the index: the videos of this loss, for the message if the loss is NaN or infinite.
        """
        ...


class Learner(Protocol):
    """Learns in passes over its training videos."""

    def train_epoch(self, epoch: int, tick: Tick) -> Mapping[str, float]:
        """Make one pass over the training videos.

        Args:
            epoch: number of the pass, from 0. All random numbers depend on it and a seed only, so that resumed
                training equals uninterrupted training.
            tick: called after each step.

        Returns:
            Scalars of the pass for the log, by name, such as ``train/loss``.
        """
        ...

    def training_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors and plain values (JSON) needed to resume exactly, including the optimiser's."""
        ...

    def load_training_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any], *, what: str) -> None:
        """Restore the result of ``training_state``.

        Args:
            tensors: its tensors.
            plain: its plain values, after a round trip through JSON.
            what: name of the checkpoint, for messages.

        Raises:
            UserError: if the state belongs to another architecture or optimiser.
        """
        ...


def no_tick(steps: int = 1, *, loss: Tensor | None = None, rows: Tensor | None = None) -> None:
    """Ignore the report; for learning outside a training loop."""
