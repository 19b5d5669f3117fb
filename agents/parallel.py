"""Gradients of a minibatch of which each rank of a job has a part."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from adafocus_rl import ranks

Compute = Callable[[Any, slice], tuple[Tensor, dict[str, Tensor]]]
"""Takes a minibatch and some of its videos; returns their mean loss, and scalars to log."""


class Gradients:
    """Computes gradients; in a job of several ranks, their sum over the ranks.

    On GPUs, DistributedDataParallel sends the gradients of a layer while those of earlier layers are computed. On CPUs,
    which would have to do both, the gradients are sent at the end, in one message.

    Args:
        trained: the modules whose gradients are wanted. All ranks must hold them at the same time; the first rank's
            weights are copied to the others.
        losses: the loss.
        scaler: scales the loss for float16.
        overlapped: whether gradients are sent while others are computed.
    """

    def __init__(self, trained: nn.Module, losses: Compute, scaler: torch.amp.GradScaler, *, overlapped: bool) -> None:
        self.losses = losses
        self.scaler = scaler
        self._device = next(trained.parameters()).device
        self._weights = [*trained.parameters()]
        self._parallel: DistributedDataParallel | None = None
        if overlapped and ranks.world() > 1:
            with warnings.catch_warnings(), ranks.exchanging(self._device):
                # Some versions warn of the future of `broadcast_buffers`. Batch statistics are averaged instead.
                warnings.simplefilter("ignore", FutureWarning)
                self._parallel = DistributedDataParallel(
                    _Losses(trained, losses), find_unused_parameters=True, broadcast_buffers=False
                )
        else:
            ranks.copy_first(self._weights)

    def add(self, batch: Any, videos: slice, *, weight: float, last: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Add the gradient of the loss of some videos.

        Args:
            batch: this rank's part of the minibatch.
            videos: the videos to use.
            weight: the weight of their mean loss in that of the minibatch.
            last: whether these are this rank's last videos of the minibatch; the ranks' gradients are then added up.

        Returns:
            The loss, without a gradient, and the scalars.
        """
        if self._parallel is None:
            loss, scalars = self.losses(batch, videos)
            self.scaler.scale(loss * weight).backward()
            if last:
                ranks.sum_gradients(self._weights)
        else:
            apart = contextlib.nullcontext() if last else self._parallel.no_sync()
            with apart, ranks.exchanging(self._device):  # synchronised batch normalisation sums in every part
                loss, scalars = self._parallel(batch, videos)
                # The ranks' gradients are averaged, not summed.
                self.scaler.scale(loss * (weight * ranks.world())).backward()
        return loss.detach(), scalars

    def add_nothing(self) -> None:
        """Take part in the sum of gradients without a video of the minibatch."""
        if self._parallel is None:
            ranks.sum_gradients(self._weights)
        else:
            with ranks.exchanging(self._device):
                loss, _ = self._parallel(None, slice(0))
                self.scaler.scale(loss).backward()


class _Losses(nn.Module):
    """The loss as a module, as DistributedDataParallel needs it.

    Some losses do not use every weight, and a rank without videos uses none. ``unused`` stands for such a rank's, and
    where there are videos it keeps torch from printing advice against ``find_unused_parameters`` on each rank. The
    price is that the host waits for the GPU at the end of each backward pass, as for any weight that is not used.
    """

    def __init__(self, trained: nn.Module, losses: Compute) -> None:
        super().__init__()
        self.trained = trained
        self.losses = losses
        self.unused = nn.Parameter(torch.zeros((), device=next(trained.parameters()).device))

    def forward(self, batch: Any, videos: slice) -> tuple[Tensor, dict[str, Tensor]]:
        if batch is None:
            return self.unused * 0, {}
        loss, scalars = self.losses(batch, videos)
        # A scalar with a gradient of its own would be waited for.
        return loss, {name: value.detach() for name, value in scalars.items()}


@torch.no_grad()
def average_statistics(modules: Iterable[nn.Module]) -> None:
    """Average the running statistics of batch normalisation over the ranks.

    Each rank has normalised its own videos; the mean over the ranks describes all of them. Frozen layers do not change.
    """
    if ranks.world() == 1:
        return
    norms = [
        norm
        for module in modules
        for norm in module.modules()
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.training
    ]
    statistics = [value for norm in norms for value in (norm.running_mean, norm.running_var) if value is not None]
    if not statistics:
        return
    mean = ranks.total(torch.cat(statistics)) / ranks.world()
    for value, part in zip(statistics, mean.split([len(value) for value in statistics]), strict=True):
        value.copy_(part)
