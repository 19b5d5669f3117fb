"""SGD and its schedules: one cosine per stage (appendix B.1), or steps (TSM, which appendix B.2 refers to)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from adafocus_rl.experiments.config.stages import SGDConfig


def sgd_optimizer(groups: Sequence[tuple[nn.Module, float]], config: SGDConfig) -> torch.optim.SGD:
    """An optimiser over modules, each with its own initial learning rate."""
    parameters: list[dict[str, Any]] = [
        {"params": list(module.parameters()), "lr": rate, "initial_lr": rate} for module, rate in groups
    ]
    return torch.optim.SGD(
        parameters,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.nesterov and config.momentum > 0,
    )


def rate_factor(config: SGDConfig, step: int, *, steps: int, epochs: int) -> float:
    """What the initial learning rate is multiplied by.

    ``cosine``: ½(1 + cos(π · step / (steps · epochs))). ``steps``: decay^(number of milestones passed), where a
    milestone counts epochs done. A function of the step alone: a resumed run needs no schedule state.

    Args:
        config: which schedule.
        step: number of the update in its stage, from 0.
        steps: updates of an epoch.
        epochs: of the stage.
    """
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * step / (steps * epochs)))
    return math.prod(config.decay for milestone in config.milestones if step >= milestone * steps)


def set_rate(optimizer: torch.optim.Optimizer, config: SGDConfig, step: int, *, steps: int, epochs: int) -> None:
    """Set each group's learning rate for an update; arguments as of ``rate_factor``."""
    factor = rate_factor(config, step, steps=steps, epochs=epochs)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def clip_gradients(optimizer: torch.optim.Optimizer, config: SGDConfig) -> None:
    """Scale the gradients down to a norm of ``max_grad_norm``, all parameters together; 0 leaves them alone."""
    if config.max_grad_norm:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
