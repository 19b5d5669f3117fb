"""Batch normalisation of vectors, and its statistics over the rows of all ranks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from adafocus_rl import ranks

BatchNorm = nn.modules.batchnorm._BatchNorm

_EPSILON = 1e-5
"""What the kernel adds to a variance before it returns the root; subtracted again."""


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
    values = x.float()
    count, mean, variance = _statistics(values, counts)
    several = count > 1  # A single row has no variance. No branch, which would wait for the device.
    if norm.track_running_stats:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        unbiased = torch.where(several, variance * count / (count - 1).clamp(min=1), norm.running_var)
        mean = torch.where(several, mean, norm.running_mean)
        variance = torch.where(several, variance, norm.running_var)
        _update(norm, mean, unbiased, several)
    weight, bias = (norm.weight, norm.bias) if norm.affine else (torch.ones_like(mean), torch.zeros_like(mean))
    share = counts * several / count
    found: Tensor = _Normalised.apply(values, weight, bias, mean, variance, share, norm.eps)
    return found.to(x.dtype)


def _statistics(values: Tensor, counts: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the number () of values of a channel that count, on all ranks, their mean and biased variance (D,)."""
    channels = values.shape[1]
    sums = torch.zeros(2 * channels + 1, dtype=torch.float64, device=values.device)
    if counts and values.numel():
        # The only kernel that computes both in one pass; what it normalises is not used.
        _, mean, scale = torch.native_batch_norm(values, None, None, None, None, True, 0.0, _EPSILON)
        mean, variance = mean.double(), (scale.double() ** -2 - _EPSILON).clamp(min=0)
        sums = values.numel() // channels * torch.cat((mean, variance + mean.square(), torch.ones_like(mean[:1])))
    sums = ranks.total(sums)
    count = sums[-1].clamp(min=1)
    mean, square = (sums[:-1] / count).split(channels)
    return count.float(), mean.float(), (square - mean.square()).clamp(min=0).float()


class _Normalised(torch.autograd.Function):
    """Rows normalised by statistics that are those of all ranks' rows, with the gradient through the statistics.

    In the forward and the backward pass, one kernel goes over the rows, and another subtracts the gradient through the
    statistics. The gradients of weight and bias are those of this rank's rows.
    """

    @staticmethod
    def forward(
        context: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, share: Tensor, eps: float
    ) -> Tensor:
        context.save_for_backward(x, weight, mean, variance, share)
        context.eps = eps
        return F.batch_norm(x, mean, variance, weight, bias, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, share = context.saved_tensors
        if x.numel():
            of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
                gradient, x, weight, mean, variance, None, None, False, context.eps, [True, True, True]
            )
        else:
            of_x, of_weight, of_bias = torch.zeros_like(x), torch.zeros_like(weight), torch.zeros_like(weight)
        by_scale, by_mean = ranks.total(torch.cat((of_weight, of_bias))).chunk(2)
        scale = (variance + context.eps).rsqrt()
        slope = share * weight * scale.square() * by_scale
        constant = share * weight * scale * by_mean - slope * mean
        shape = (1, -1, *[1] * (x.ndim - 2))
        of_x = of_x.sub_(constant.view(shape)).addcmul_(x, slope.view(shape), value=-1)
        return of_x, of_weight, of_bias, None, None, None, None


@torch.no_grad()
def _update(norm: BatchNorm, mean: Tensor, variance: Tensor, several: Tensor) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked += several  # a row alone changes nothing
    momentum = 1 / max(1.0, float(norm.num_batches_tracked)) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, momentum)
    norm.running_var.lerp_(variance, momentum)


def _by_running_statistics(norm: BatchNorm, x: Tensor) -> Tensor:
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
