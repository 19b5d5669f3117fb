"""Activation checkpointing: a network block by block, its activations computed again for the gradients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def run_blocks(blocks: Iterable[nn.Module], x: Tensor, *, recompute: bool) -> Tensor:
    """One block after another.

    Args:
        blocks: the network in order.
        x: the first one's input.
        recompute: keep only the blocks' inputs for the gradients, and run each block again when they are wanted. The
            results are the same, and so are batch normalisation's running statistics.

    Returns:
        The last one's output.
    """
    recompute = recompute and torch.is_grad_enabled()
    for block in blocks:
        if recompute and any(parameter.requires_grad for parameter in block.parameters()):
            x = checkpoint(block, x, use_reentrant=False, context_fn=partial(_contexts, block))
        else:
            x = block(x)
    return x


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Of the first run, and of the second."""
    return nullcontext(), _statistics_at_rest(block)


@contextmanager
def _statistics_at_rest(block: nn.Module) -> Iterator[None]:
    """The second run must not move running statistics a second time, nor count another batch.

    A momentum of 0 leaves them where they are. (Without ``track_running_stats`` they would not be touched either, but
    then other tensors are saved than in the first run, which checkpointing refuses.)
    """
    norms = [module for module in block.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
