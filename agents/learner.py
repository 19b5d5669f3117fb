"""What a training loop asks of whoever learns: one pass over the data at a time, and all that it needs to resume.

Who implements ``Learner`` owns what happens within a pass. Epochs, checkpoints, logs and the end of a training
that diverges belong to the loop, ``Trainer``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor


class Tick(Protocol):
    """How a learner says how far it is in a pass."""

    def __call__(self, steps: int = 1, *, loss: Tensor | None = None, rows: Tensor | None = None) -> None:
        """Some steps are done.

        Args:
            steps: how many of the pass; 0 reports a loss only.
            loss: scalar on any device. It is not read at once, so that no step waits for the device.
            rows: (B,) rows of the index: the videos that the loss is of, to be named if it is NaN or infinite.
        """
        ...


class Learner(Protocol):
    """Learns in passes over its training videos."""

    def train_epoch(self, epoch: int, tick: Tick) -> Mapping[str, float]:
        """Make one pass.

        Args:
            epoch: number of the pass, from 0. All random numbers follow from it and a seed, so that a resumed
                training is the one that was never stopped.
            tick: hears of each step.

        Returns:
            Scalars of the pass for the log, by name: ``train/loss``, say.
        """
        ...

    def training_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and plain values (JSON) that learning needs to resume exactly, the optimiser's included."""
        ...

    def load_training_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any], *, what: str) -> None:
        """Restore what ``training_state`` returned.

        Args:
            tensors: its tensors.
            plain: its plain values, after a round trip through JSON.
            what: name of the checkpoint for messages.

        Raises:
            UserError: the state is of another architecture or optimiser.
        """
        ...


def no_tick(steps: int = 1, *, loss: Tensor | None = None, rows: Tensor | None = None) -> None:
    """Ignore the report: for learning outside of a training loop."""
