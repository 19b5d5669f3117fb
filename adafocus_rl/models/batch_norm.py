"""Batch normalisation of vectors, and its statistics over the rows of all ranks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adafocus_rl import ranks

BatchNorm = nn.modules.batchnorm._BatchNorm


class VectorNorm(nn.BatchNorm1d):
    """Batch normalisation that uses its running statistics for a single row, which has no variance."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise vectors (N, D)."""
        return _by_running_statistics(self, x) if self.training and len(x) == 1 else super().forward(x)


@contextlib.contextmanager
def statistics_of_all_ranks(network: nn.Module, share: float) -> Iterator[None]:
    """Let batch normalisation in training mode use the statistics of all ranks' rows within the block.

    Outputs, gradients and running statistics are those of one process that has all rows. All ranks must run the same
    layers in the block. ``torch.nn.SyncBatchNorm`` does the same on GPUs, but needs rows on every rank.

    Args:
        network: its layers of batch normalisation.
        share: the rank's share of the batch; rows with a share of 0 are normalised, but do not count.
    """
    norms = [part for part in network.modules() if isinstance(part, BatchNorm)] if ranks.world() > 1 else []
    for norm in norms:
        norm.forward = partial(_normalise, norm, float(share > 0))  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _normalise(norm: BatchNorm, counts: float, x: Tensor) -> Tensor:
    """Normalise rows (N, D, …) by the statistics of all ranks' rows; ``counts`` is 0 if this rank's do not count."""
    if not norm.training:
        return type(norm).forward(norm, x)
    values = x.float().movedim(1, -1)
    # Counted on the CPU, so that nothing waits for the device.
    count = float(ranks.total(torch.tensor(counts * values[..., 0].numel())))
    if count == 1:
        return _by_running_statistics(norm, x)
    mean = ranks.added(counts * values.flatten(0, -2).sum(0)) / count
    centred = values - mean
    variance = ranks.added(counts * centred.square().flatten(0, -2).sum(0)) / count
    if norm.track_running_stats:
        _update(norm, mean.detach(), variance.detach() * count / (count - 1))
    found = centred * (variance + norm.eps).rsqrt()
    if norm.affine:
        found = found * norm.weight + norm.bias
    return found.movedim(-1, 1).to(x.dtype)


@torch.no_grad()
def _update(norm: BatchNorm, mean: Tensor, variance: Tensor) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked += 1
    momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, momentum)
    norm.running_var.lerp_(variance, momentum)


def _by_running_statistics(norm: BatchNorm, x: Tensor) -> Tensor:
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
