"""Encoding in chunks of few images, so that activations stay in memory that is at hand."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from adafocus_rl.models.encoders import Encoder

CPU_CHUNK_PIXELS = 8 * 128**2
"""Pixels that a network processes at once on a CPU: 8 patches of 128, or 2 frames of 224.

The largest activations of ResNet-50 then take 8 MB. glibc returns activations of more than 32 MB to the system at every
layer, and touching new memory takes longer than small products lose.
"""


def vectors_of(encoder: Encoder, images: Tensor) -> Tensor:
    """Return an encoder's vectors (N, D) of images (N, 3, H, W); in chunks if it may (``may_be_split``)."""
    return in_chunks(encoder, images) if may_be_split(encoder) else encoder(images)


def maps_of(encoder: Encoder, images: Tensor) -> Tensor:
    """Return an encoder's maps (N, C, h, w) of images (N, 3, H, W); in chunks if it may (``may_be_split``)."""
    return in_chunks(encoder.forward_map, images) if may_be_split(encoder) else encoder.forward_map(images)


def may_be_split(encoder: Encoder) -> bool:
    """Return whether batches may be split: no batch statistics, no frames that are encoded together, no gradients.

    With gradients, the activations of all chunks are kept anyway.
    """
    return not (encoder.training or encoder.temporal or torch.is_grad_enabled())


def in_chunks(encode: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Encode images in chunks of the size that suits their device.

    Outputs equal those of one call within the rounding of float32.

    Args:
        encode: function of a batch that processes each image separately.
        images: (N, C, H, W). On a CPU, ``CPU_CHUNK_PIXELS`` pixels are encoded at a time; on other devices, all images
            are, because they want large batches.

    Returns:
        (N, …), the outputs in order.
    """
    size = max(1, CPU_CHUNK_PIXELS // max(1, images.shape[-2] * images.shape[-1]))
    if images.device.type != "cpu" or len(images) <= size:
        return encode(images)
    return torch.cat([encode(part) for part in images.split(size)])
