"""Encoding in chunks of few images, so that activations stay in memory that is at hand."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from adafocus_rl.models.encoders import Encoder

LARGEST_ACTIVATION = 24 << 20
"""Bytes of the largest activation of a chunk on a CPU.

glibc returns memory of 32 MB or more to the system when it is freed, and every layer then touches new memory. In much
smaller chunks the weights, which each convolution reads again for each chunk, cost more than small activations save.
"""

_CHUNKS: WeakKeyDictionary[Encoder, dict[tuple[torch.Size, torch.dtype], int]] = WeakKeyDictionary()
"""Images of a chunk, by encoder and by the shape and type of an image."""


def vectors_of(encoder: Encoder, images: Tensor) -> Tensor:
    """Return an encoder's vectors (N, D) of images (N, 3, H, W); in chunks if it may (``may_be_split``)."""
    return in_chunks(encoder, images, chunk_size(encoder, images))


def maps_of(encoder: Encoder, images: Tensor) -> Tensor:
    """Return an encoder's maps (N, C, h, w) of images (N, 3, H, W); in chunks if it may (``may_be_split``)."""
    return in_chunks(encoder.forward_map, images, chunk_size(encoder, images))


def may_be_split(encoder: Encoder) -> bool:
    """Return whether batches may be split: no batch statistics, no frames that are encoded together, no gradients.

    With gradients, the activations of all chunks are kept anyway.
    """
    return not (encoder.training or encoder.temporal or torch.is_grad_enabled())


def chunk_size(encoder: Encoder, images: Tensor) -> int:
    """Return how many of the images (N, 3, H, W) to encode at a time.

    On a CPU this is the largest power of two with which no activation exceeds ``LARGEST_ACTIVATION``, measured on one
    image; at least 1. Powers of two divide most batches, so that few shapes occur. Other devices want large batches and
    encode all images at a time, and so does an encoder whose batches may not be split.
    """
    if images.device.type != "cpu" or len(images) < 2 or not may_be_split(encoder):
        return max(1, len(images))
    known = _CHUNKS.setdefault(encoder, {})
    key = images.shape[1:], images.dtype
    if key not in known:
        most = LARGEST_ACTIVATION // max(1, largest_activation(encoder.eager(), images[:1]))
        known[key] = 1 << max(0, most.bit_length() - 1)
    return known[key]


@torch.no_grad()
def largest_activation(encoder: Encoder, images: Tensor) -> int:
    """Return the bytes of the largest output of a module of the encoder on images (N, 3, H, W), or of its maps."""
    largest = 0

    def note(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel() * output.element_size())

    hooks = [module.register_forward_hook(note) for module in encoder.modules()]
    try:
        note(encoder, None, encoder.forward_map(images))
    finally:
        for hook in hooks:
            hook.remove()
    return largest


def in_chunks(encode: Callable[[Tensor], Tensor], images: Tensor, size: int) -> Tensor:
    """Encode images in chunks; outputs equal those of one call within the rounding of float32.

    Args:
        encode: function of a batch that processes each image separately.
        images: (N, C, H, W).
        size: number of images to encode at a time, at least 1.

    Returns:
        (N, …), the outputs in order.
    """
    if len(images) <= size:
        return encode(images)
    return torch.cat([encode(part) for part in images.split(size)])
