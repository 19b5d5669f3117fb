"""SGD and its schedules: one cosine per stage (appendix B.1), or steps (TSM, to which appendix B.2 refers)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from adafocus_rl.agents.training_options import SGDConfig


def make_optimizer(groups: Sequence[tuple[nn.Module, float]], config: SGDConfig) -> torch.optim.Optimizer:
    """Return an optimiser over modules, each with its own initial learning rate."""
    parameters: list[dict[str, Any]] = [
        {"params": list(module.parameters()), "lr": rate, "initial_lr": rate} for module, rate in groups
    ]
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, betas=(config.momentum, 0.999), weight_decay=config.weight_decay)
    return torch.optim.SGD(
        parameters,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.nesterov and config.momentum > 0,
    )


def rate_factor(config: SGDConfig, step: int, *, steps: int, epochs: int) -> float:
    """Return the factor of the initial learning rate.

    ``cosine``: ½(1 + cos(π · step / (steps · epochs))). ``steps``: decay^(number of milestones passed), where a
    milestone is a number of epochs done. The factor depends on the step only, so a resumed run needs no schedule state.

    Args:
        config: the schedule's options.
        step: number of the update in its stage, from 0.
        steps: updates per epoch.
        epochs: epochs of the stage.
    """
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * step / (steps * epochs)))
    return math.prod(config.decay for milestone in config.milestones if step >= milestone * steps)


def set_rate(optimizer: torch.optim.Optimizer, config: SGDConfig, step: int, *, steps: int, epochs: int) -> None:
    """Set each parameter group's learning rate for an update; arguments as in ``rate_factor``."""
    factor = rate_factor(config, step, steps=steps, epochs=epochs)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def clip_gradients(optimizer: torch.optim.Optimizer, config: SGDConfig) -> None:
    """Clip the norm of all gradients together to ``max_grad_norm``; 0 disables clipping."""
    if config.max_grad_norm:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
