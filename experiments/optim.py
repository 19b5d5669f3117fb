"""SGD with Nesterov momentum and one cosine per stage (appendix B.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from adafocus_rl.experiments.config import SGDConfig


def nesterov_sgd(groups: Sequence[tuple[nn.Module, float]], config: SGDConfig) -> torch.optim.SGD:
    """An optimiser over modules, each with its own initial learning rate."""
    parameters: list[dict[str, Any]] = [
        {"params": list(module.parameters()), "lr": rate, "initial_lr": rate} for module, rate in groups
    ]
    return torch.optim.SGD(
        parameters, momentum=config.momentum, weight_decay=config.weight_decay, nesterov=config.momentum > 0
    )


def set_cosine_rate(optimizer: torch.optim.Optimizer, step: int, total: int) -> None:
    """Sets lr = initial · ½(1 + cos(π · step / total)) for update number ``step`` of ``total``, counted from 0.

    A function of the step alone: a resumed run needs no schedule state.
    """
    factor = 0.5 * (1 + math.cos(math.pi * step / total))
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
