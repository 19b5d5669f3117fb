"""Training that has diverged ends in the epoch where it happens, before anything of that epoch is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor

from adafocus_rl.checkpoint import not_finite
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.run.run import Run

_RATES = {
    "stage0.stills": "stage0.stills.learning_rate",
    "stage0": "stage0.learning_rate",
    "stage1": "stage1.focus_learning_rate or stage1.classifier_learning_rate",
    "stage2": "agent.learning_rate",
    "stage2.skip": "skip.options.learning_rate",
    "stage3": "stage3.learning_rate",
    "full_frame": "stage1.classifier_learning_rate",
}
"""What sets the rate of each stage."""


def refuse_divergence(
    run: Run, stage: str, epoch: int, scalars: Mapping[str, float], tensors: Mapping[str, Tensor]
) -> None:
    """Refuses an epoch after which nothing can be learnt any more. Looks once an epoch, so that no step waits for it.

    That float16's scaler has skipped steps is none: neither the loss nor a parameter is infinite then.

    Args:
        run: the run.
        stage: name in logs.
        epoch: counted from 1.
        scalars: of the epoch; losses and rewards are looked at.
        tensors: parameters, batch statistics, and the optimiser's state.

    Raises:
        UserError: one of them is NaN or infinite.
    """
    names = [name for name, value in scalars.items() if _tells(name) and not math.isfinite(value)]
    found = names[0] if names else not_finite(tensors)
    if found is not None:
        raise UserError(_sentence(run, stage, f"epoch {epoch}", found))


@contextmanager
def explaining_divergence(run: Run, stage: str, tensors: Callable[[], Mapping[str, Tensor]]) -> Iterator[None]:
    """A block of learning whose errors are divergence's if the parameters are not finite.

    Distributions of torch, for one, raise ValueError for parameters that are NaN.

    Args:
        run: the run.
        stage: name in logs.
        tensors: gives the parameters.

    Raises:
        UserError: the training has diverged.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        try:
            found = not_finite(tensors())
        except RuntimeError:  # a GPU that an index has stopped answers nothing any more
            found = None
        if found is None and "nan" in str(error).lower():  # parameters so large that what comes out of them is none
            found = "what the agent computes"
        if found is None:
            raise
        raise UserError(_sentence(run, stage, "the middle of an epoch", found)) from error


def _tells(name: str) -> bool:
    return "loss" in name or name == "rollout/ep_rew_mean"


def _sentence(run: Run, stage: str, when: str, what: str) -> str:
    part = "stage2.skip" if stage.startswith("stage2.skip") else stage.split(".skip")[0]
    # The whole-frame row is trained with stage I's rate.
    number = 1 if part == "full_frame" else int(part[len("stage")])
    again = "--overwrite" if number == 0 else f"--stages {' '.join(map(str, range(number, 4)))}"
    return (
        f"{stage} of {run.folder.path} has diverged in {when}: {what} is not finite; nothing of that epoch was "
        f"written, and what was finished before is kept: lower {_RATES.get(part, 'its rate')}, train again with {again}"
    )
