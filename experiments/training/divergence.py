"""Detection of divergence: training stops in the epoch that diverges, before anything of that epoch is written."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from adafocus_rl.agents.learner import Learner
from adafocus_rl.checkpoint import not_finite
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.steps import STAGES, STEPS, find_step, under
from adafocus_rl.experiments.terminal.progress import Ticker

UNREAD = 64
"""Losses that are collected on the device before they are read together, so that steps do not wait for it."""

READ_SECONDS = 10.0
"""Time after which the collected losses are read, however few they are, to show their mean beside the progress."""

NAMED = 3
"""Number of videos of a batch that a message names."""


class Watch:
    """A ``Tick`` that checks the losses of one epoch for divergence.

    A step that float16's gradient scaler skips is not divergence: neither the loss nor a parameter is infinite then.

    Args:
        run: the run.
        step: name of the step in logs.
        epoch: number of the epoch, from 0.
        ticker: the progress bar.
    """

    def __init__(self, run: Run, step: str, epoch: int, ticker: Ticker) -> None:
        self.run = run
        self.step = find_step(step)
        self.epoch = epoch
        self.ticker = ticker
        self._read = 0
        self._read_at = time.monotonic()
        self._unread: list[tuple[Tensor, Tensor | None]] = []

    def __call__(self, steps: int = 1, *, loss: Tensor | None = None, rows: Tensor | None = None) -> None:
        """Advance the progress bar and store the loss.

        Raises:
            UserError: if a stored loss is NaN or infinite.
        """
        self.ticker.advance(steps)
        if loss is not None:
            self._unread.append((loss.detach(), rows))
            if len(self._unread) == UNREAD or time.monotonic() - self._read_at > READ_SECONDS:
                self.read()

    def read(self) -> None:
        """Check the stored losses, and show their mean; this waits for the device once.

        Raises:
            UserError: if one is NaN or infinite; the message names the first batch with such a loss, and its videos.
        """
        unread, before = self._unread, self._read
        self._unread, self._read, self._read_at = [], before + len(unread), time.monotonic()
        losses = torch.stack([loss for loss, _ in unread]).tolist() if unread else []
        first = next((number for number, loss in enumerate(losses) if not math.isfinite(loss)), None)
        if first is not None:
            raise self._error(f"the loss of batch {before + first + 1}{self._names(unread[first][1])}")
        if losses:
            self.ticker.advance(0, running=f"loss now {sum(losses) / len(losses):.3f}")

    def refuse(self, scalars: Mapping[str, float], tensors: Mapping[str, Tensor]) -> None:
        """Raise an error if an epoch has diverged.

        Args:
            scalars: scalars of the epoch, of which losses and rewards are checked.
            tensors: parameters, batch statistics, and the optimiser's state.

        Raises:
            UserError: if one of them is NaN or infinite.
        """
        self.read()
        names = [name for name, value in scalars.items() if _tells(name) and not math.isfinite(value)]
        found = names[0] if names else not_finite(tensors)
        if found is not None:
            raise self._error(found)

    @contextmanager
    def explaining(self, learner: Learner) -> Iterator[None]:
        """Report errors in a block of training as divergence if a loss or a parameter is not finite.

        For example, torch's distributions raise ValueError for parameters that are NaN.

        Raises:
            UserError: if the training has diverged.
        """
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            try:
                self.read()
                found = not_finite(learner.training_state()[0])
            except RuntimeError:  # after an index out of range, a GPU fails every call
                found = None
            if found is None and "nan" in str(error).lower():  # finite parameters so large that outputs are NaN
                found = "what the agent computes"
            if found is None:
                raise
            raise self._error(found) from error

    def _names(self, rows: Tensor | None) -> str:
        """Return the videos of a batch for a message; empty if they are unknown."""
        clips = self.run.clips.stills if self.step.clips == "stills" else self.run.clips.train
        if rows is None or not len(rows) or clips is None:
            return ""
        paths = [clips.index[row].path for row in rows.tolist()]
        more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
        return f" ({', '.join(paths[:NAMED])}{more})"

    def _error(self, what: str) -> UserError:
        rates = self.step.rates
        # The first step with this learning rate: the whole-frame method trains with stage I's.
        number = next((step.number for step in STEPS if rates and under(rates[0], step.keys)), None)
        again = f"--stages {' '.join(map(str, STAGES[number:]))}" if number else "--overwrite"
        return UserError(
            f"{self.step.name} of {self.run.folder.path} has diverged in epoch {self.epoch + 1}: {what} is not finite; "
            "nothing of that epoch was written, and what was finished before is kept: lower "
            f"{' or '.join(rates) or 'its rate'}, train again with {again}"
        )


def _tells(name: str) -> bool:
    return "loss" in name or name == "rollout/ep_rew_mean"
