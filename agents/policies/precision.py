"""Precision of the products in training. Weights, probabilities, rewards and losses are float32 in all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from adafocus_rl.agents.policies.create import PolicyNetwork
from adafocus_rl.agents.policies.options import Precision
from adafocus_rl.envs.spaces import Observation


@contextlib.contextmanager
def matrix_products(precision: Precision) -> Iterator[None]:
    """Let float32 products of matrices round their inputs to TF32 in the context, unless the precision is float32.

    TF32 has 10 bits of mantissa. Hardware without it computes in float32. With ``bfloat16`` this concerns the products
    that stay float32, which are f_C's.
    """
    before = torch.get_float32_matmul_precision()
    if precision != "float32":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def sequence(network: PolicyNetwork, observation: Observation, precision: Precision) -> tuple[Tensor, Tensor]:
    """Return a network's outputs (B, T, A or 2) and values (B, T) for whole episodes, computed in a precision.

    With ``bfloat16``, inputs and weights of every layer are rounded to 8 bits of mantissa (autocast), and the results
    are float32.
    """
    if precision != "bfloat16":
        return network.sequence(observation)
    with torch.autocast(network.critic.weight.device.type, dtype=torch.bfloat16):
        outputs, value = network.sequence(observation)
    return outputs.float(), value.float()
