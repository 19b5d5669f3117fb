"""Copies of encoders that compute the same features in less time, for use without gradients."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from adafocus_rl.models.encoders import Encoder

PROBE_SIDE = 64
"""Side in pixels of the random images on which a folded encoder is compared with the original."""

MOST_CANCELLED = 16.0
"""Largest factor by which what a batch norm subtracts may exceed what it leaves, in lower precision.

Its input's rounding errors grow by this factor: 16 turns bfloat16's 0.2 % into 3 %. In published weights of
MobileNet-V2, one layer has a factor of 400 and all others of at most 4.
"""


class LowPrecisionEncoder(Encoder):
    """An encoder that computes in another type; images and features stay float32.

    Blocks up to the last batch norm that cancels too much (``MOST_CANCELLED``) stay float32, and with them what they
    receive.

    Args:
        encoder: the encoder; it is copied. Its batch norms are folded into its convolutions where that is possible.
        dtype: type of weights and activations, such as ``torch.bfloat16``.

    Attributes:
        exact_blocks: number of leading blocks that stay float32.
    """

    def __init__(self, encoder: Encoder, dtype: torch.dtype) -> None:
        super().__init__()
        self.map_channels, self.vector_dim, self.temporal = encoder.map_channels, encoder.vector_dim, encoder.temporal
        self.encoder = fold_batch_norms(encoder).to(memory_format=torch.channels_last)
        self.exact_blocks = _exact_blocks(encoder)
        for part in self.encoder.blocks()[self.exact_blocks :] if self.exact_blocks else [self.encoder]:
            part.to(dtype)
        self.dtype = dtype

    def forward_map(self, x: Tensor) -> Tensor:
        """Feature maps (N, C, h, w), float32, of normalised images (N, 3, H, W)."""
        if not self.exact_blocks:
            return self.encoder.forward_map(x.to(self.dtype)).float()
        maps = x.contiguous(memory_format=torch.channels_last)
        for number, block in enumerate(self.encoder.blocks()):
            maps = block(maps if number < self.exact_blocks else maps.to(self.dtype))
        return maps.float()

    def pool(self, maps: Tensor) -> Tensor:
        """Vectors (N, D), float32, of maps (N, C, h, w)."""
        return self.encoder.pool(maps)

    def set_num_frames(self, num_frames: int) -> None:
        """Set T for a ``temporal`` network."""
        self.encoder.set_num_frames(num_frames)


@torch.no_grad()
def fold_batch_norms(encoder: Encoder) -> Encoder:
    """Return a copy in evaluation mode whose convolutions contain the batch norms that follow them.

    Which batch norm follows a convolution is read from the order in which modules are registered. The copy is therefore
    compared with the original on random images; where their maps differ, the original's batch norms are kept.
    """
    # On the CPU: a GPU's convolutions in TF32 differ by more than folding does.
    device = next((weight.device for weight in encoder.parameters()), torch.device("cpu"))
    original = copy.deepcopy(encoder).cpu().eval()
    folded = copy.deepcopy(original)
    for parent in [*folded.modules()]:
        for (first, conv), (second, norm) in pairwise([*parent.named_children()]):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and _match(conv, norm):
                setattr(parent, first, fuse_conv_bn_eval(conv, norm))
                setattr(parent, second, nn.Identity())
    weight = next(original.parameters(), torch.empty(0))
    images = torch.randn(2, 3, PROBE_SIDE, PROBE_SIDE, generator=torch.Generator().manual_seed(0)).to(weight)
    expected, found = _probed(original, images), _probed(folded, images)
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    same = expected.shape == found.shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * scale)
    return (folded if same else original).to(device)


def _exact_blocks(encoder: Encoder) -> int:
    """Return the number of blocks up to the last one with a batch norm that cancels too much."""
    count = 0
    for number, block in enumerate(encoder.blocks(), start=1):
        norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
        if any(cancellation(norm) > MOST_CANCELLED for norm in norms):
            count = number
    return count


@torch.no_grad()
def cancellation(norm: nn.BatchNorm2d) -> float:
    """Return the norm of what a batch norm subtracts from its scaled input, divided by the norm of its output.

    The output's is taken from its mean β and deviation γ, so no data is needed.
    """
    if norm.running_mean is None or norm.running_var is None:
        return 0.0
    scale = (norm.running_var + norm.eps).rsqrt() * (norm.weight if norm.affine else 1.0)
    left = torch.sqrt(norm.running_var * scale**2 + (norm.bias**2 if norm.affine else 0.0))
    return float((norm.running_mean * scale).norm() / left.norm().clamp_min(1e-12))


def _probed(encoder: Encoder, images: Tensor) -> Tensor:
    """Return the maps of a few images, which are one clip for a ``temporal`` network."""
    if encoder.temporal:
        encoder = copy.deepcopy(encoder)
        encoder.set_num_frames(len(images))
    return encoder.forward_map(images)


def _match(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    return norm.running_mean is not None and norm.num_features == conv.out_channels
