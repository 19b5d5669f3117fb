"""One optimiser step on a minibatch that need not fit into memory whole: precision, accumulation, recomputation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from adafocus_rl.experiments.config.stages import ComputeConfig, SGDConfig
from adafocus_rl.experiments.training.optim import clip_gradients
from adafocus_rl.experiments.training.progress import Mean
from adafocus_rl.models.recognizer import Recognizer

_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Update:
    """Minibatches to optimiser steps.

    Args:
        optimizer: of what is trained.
        sgd: its options; here the clipping of gradients.
        compute: precision, parts and recomputation.
        recognizer: whose encoders recompute, or not, from now on.
        device: where it computes.

    Attributes:
        scaler: of float16's losses, whose gradients would else underflow; does nothing in other types.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        sgd: SGDConfig,
        compute: ComputeConfig,
        recognizer: Recognizer,
        *,
        device: torch.device,
    ) -> None:
        self.optimizer = optimizer
        self.sgd = sgd
        self.compute = compute
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=compute.precision == "float16")
        for encoder in (recognizer.glance, recognizer.focus):
            encoder.recompute = compute.recompute

    def autocast(self) -> torch.autocast:
        """The context for the encoders' part of the loss; what comes out is of the precision's type."""
        kind = _TYPES[self.compute.precision]
        return torch.autocast(self.device.type, dtype=kind, enabled=kind != torch.float32)

    def __call__(self, count: int, losses: Callable[[slice], tuple[Tensor, dict[str, Tensor]]], mean: Mean) -> None:
        """One step on a minibatch; the gradient is that of the mean loss over its videos, whatever the parts.

        Args:
            count: videos in the minibatch.
            losses: mean loss over some of its rows, and scalars to take down.
            mean: takes the scalars.
        """
        self.optimizer.zero_grad(set_to_none=True)
        size = -(-count // self.compute.accumulate)
        for start in range(0, count, size):
            rows = slice(start, min(start + size, count))
            part = rows.stop - rows.start
            loss, scalars = losses(rows)
            self.scaler.scale(loss * (part / count)).backward()
            mean.add(part, **scalars)
        # Norms are those of the gradients themselves.
        self.scaler.unscale_(self.optimizer)
        clip_gradients(self.optimizer, self.sgd)
        self.scaler.step(self.optimizer)
        self.scaler.update()
