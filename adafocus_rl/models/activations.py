"""Memory for activations that an encoder keeps for the backward pass, measured on what autograd saves."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from adafocus_rl.models.encoders import Encoder


@dataclass(frozen=True, kw_only=True)
class ActivationBytes:
    """Bytes per image."""

    kept: int
    """Everything kept from the forward to the backward pass."""
    inputs: int
    """The inputs of the blocks, which is what ``recompute`` keeps."""
    largest_block: int
    """The block that keeps most; with ``recompute``, one block at a time adds its activations."""

    @property
    def with_recompute(self) -> int:
        """Peak with ``recompute``."""
        return self.inputs + self.largest_block


def activation_bytes(encoder: Encoder, side: int, *, dtype: torch.dtype = torch.float32) -> ActivationBytes:
    """Count the bytes that autograd saves, on a copy of the encoder in training mode on CPU.

    Memory that does not grow with the number of images (weights, statistics, casts of weights) and temporary memory of
    kernels are not counted.

    Args:
        encoder: an encoder with ``blocks``.
        side: side of its input in pixels.
        dtype: float32, or the dtype of autocast.

    Raises:
        ValueError: the encoder has no blocks.
    """
    if not encoder.blocks():
        raise ValueError(f"{type(encoder).__name__} does not say of which blocks it is made")
    encoder = copy.deepcopy(encoder).to("cpu", torch.float32).requires_grad_(True).train()
    few, more = 2, 4
    small, large = (_count(encoder, images, side, dtype) for images in (few, more))
    per_image = [(b - a) // (more - few) for a, b in zip(small, large, strict=True)]
    return ActivationBytes(kept=per_image[0], inputs=per_image[1], largest_block=max(per_image[2:]))


def _count(encoder: Encoder, images: int, side: int, dtype: torch.dtype) -> list[int]:
    """Bytes of everything saved, of the blocks' inputs, and of what each block saves besides its input."""
    encoder.set_num_frames(images)
    x = torch.zeros(images, 3, side, side).contiguous(memory_format=torch.channels_last)
    saved: dict[int, Tensor] = {}  # keyed by memory address, so that shared memory is counted once
    inputs, parts = 0, []
    for block in encoder.blocks():
        inputs += _bytes(x)
        own: dict[int, Tensor] = {}

        def keep(tensor: Tensor, own: dict[int, Tensor] = own) -> Tensor:
            own[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        of_input = x.untyped_storage().data_ptr()
        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with hooks, torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            x = block(x)
        saved |= own
        parts.append(sum(_bytes(tensor) for address, tensor in own.items() if address != of_input))
    return [sum(_bytes(tensor) for tensor in saved.values()), inputs, *parts]


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()
