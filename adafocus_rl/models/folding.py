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


class LowPrecisionEncoder(Encoder):
    """An encoder that computes in another type; images and features stay float32.

    Args:
        encoder: the encoder; it is copied. Its batch norms are folded into its convolutions where that is possible.
        dtype: type of weights and activations, such as ``torch.bfloat16``.
    """

    def __init__(self, encoder: Encoder, dtype: torch.dtype) -> None:
        super().__init__()
        self.map_channels, self.vector_dim, self.temporal = encoder.map_channels, encoder.vector_dim, encoder.temporal
        self.encoder = fold_batch_norms(encoder).to(dtype).to(memory_format=torch.channels_last)
        self.dtype = dtype

    def forward_map(self, x: Tensor) -> Tensor:
        """Feature maps (N, C, h, w), float32, of normalised images (N, 3, H, W)."""
        return self.encoder.forward_map(x.to(self.dtype)).float()

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
    original = copy.deepcopy(encoder).eval()
    folded = copy.deepcopy(original)
    for parent in [*folded.modules()]:
        for (first, conv), (second, norm) in pairwise([*parent.named_children()]):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and _match(conv, norm):
                setattr(parent, first, fuse_conv_bn_eval(conv, norm))
                setattr(parent, second, nn.Identity())
    weight = next(original.parameters(), torch.empty(0))
    images = torch.randn(2, 3, PROBE_SIDE, PROBE_SIDE, generator=torch.Generator().manual_seed(0)).to(weight)
    expected, found = original.forward_map(images), folded.forward_map(images)
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    same = expected.shape == found.shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * scale)
    return folded if same else original


def _match(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    return norm.running_mean is not None and norm.num_features == conv.out_channels
