"""Activation checkpointing: recompute the activations of each block in the backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def run_blocks(blocks: Iterable[nn.Module], x: Tensor, *, recompute: bool) -> Tensor:
    """Run blocks in sequence.

    Args:
        blocks: the network, in order.
        x: input of the first block.
        recompute: keep only the blocks' inputs for the backward pass, which runs each block again. Results and the
            running statistics of batch normalisation do not change.

    Returns:
        Output of the last block.
    """
    recompute = recompute and torch.is_grad_enabled()
    for block in blocks:
        if recompute and any(parameter.requires_grad for parameter in block.parameters()):
            x = checkpoint(block, x, use_reentrant=False, context_fn=partial(_contexts, block))
        else:
            x = block(x)
    return x


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of the first run and of the second run."""
    return nullcontext(), _statistics_at_rest(block)


@contextmanager
def _statistics_at_rest(block: nn.Module) -> Iterator[None]:
    """Keep the second run from updating running statistics and batch counts again.

    A momentum of 0 leaves the statistics unchanged. (Disabling ``track_running_stats`` would as well, but the second
    run would then save other tensors than the first, which checkpointing refuses.)
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
