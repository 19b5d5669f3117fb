"""How many bytes of activations an encoder keeps for the gradients: counted on what autograd saves, not estimated."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from adafocus_rl.models.encoders import Encoder


@dataclass(frozen=True, kw_only=True)
class ActivationBytes:
    """Bytes for each image."""

    kept: int
    """All that is kept from the forward to the backward pass."""
    inputs: int
    """The blocks' inputs: what is kept with ``recompute``."""
    largest_block: int
    """The block that keeps most: with ``recompute`` this comes on top, once at a time."""

    @property
    def with_recompute(self) -> int:
        """The most that exists at once with ``recompute``."""
        return self.inputs + self.largest_block


def activation_bytes(encoder: Encoder, side: int, *, dtype: torch.dtype = torch.float32) -> ActivationBytes:
    """Counts on a copy in training mode, on CPU, on a few images.

    What does not grow with the images (weights, statistics, casts of weights) is not counted, nor is what a device's
    kernels need for a moment.

    Args:
        encoder: one that runs in blocks.
        side: of its input in pixels.
        dtype: float32, or the type of autocast.

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
    """Bytes of everything saved, of the blocks' inputs, and of what each block saves beside its input."""
    encoder.set_num_frames(images)
    x = torch.zeros(images, 3, side, side).contiguous(memory_format=torch.channels_last)
    saved: dict[int, Tensor] = {}  # by address of the memory: it is counted once, whoever saves it
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
