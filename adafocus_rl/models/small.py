"""Small convolutional encoders for small frames: the embedded data, debugging and tests."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from adafocus_rl.models.encoders import Encoder
from adafocus_rl.models.recompute import run_blocks


class ConvEncoder(Encoder):
    """A plain stack of 3×3 convolutions, each with batch normalisation and ReLU.

    Args:
        widths: output channels of each layer; the last one is C and D.
        strides: stride of each layer; an image of side H gives a map of side H / (product of the strides),
            rounded up.
    """

    def __init__(self, *, widths: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width, stride in zip(widths, strides, strict=True):
            layers += [
                nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            channels = width
        self.net = nn.Sequential(*layers)
        self.map_channels = channels
        self.vector_dim = channels

    def blocks(self) -> list[nn.Module]:
        """Each convolution with its normalisation and activation."""
        layers = list(self.net)
        return [nn.Sequential(*layers[i : i + 3]) for i in range(0, len(layers), 3)]

    def forward_map(self, x: Tensor) -> Tensor:
        """Feature maps (N, C, h, w) of normalised images (N, 3, H, W)."""
        x = x.contiguous(memory_format=torch.channels_last)
        if self.recompute:
            return run_blocks(self.blocks(), x, recompute=True)
        maps: Tensor = self.net(x)  # building the blocks takes a third of the time of a small network
        return maps


class SmallGlance(ConvEncoder):
    """f_G for frames resized to 8 to 20 pixels: a map of 4×4 to 10×10 positions."""

    def __init__(self, *, widths: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__(widths=widths, strides=(1, 2, 1))

    def pool(self, maps: Tensor) -> Tensor:
        """Largest response of each channel, (N, C).

        The object is small and the label does not say where it is. A mean over the frame would drown its response, and
        this network has no published weights to start from.
        """
        return maps.amax(dim=(2, 3))


class SmallFocus(ConvEncoder):
    """f_L for patches of about 24 to 48 pixels or whole frames of 64 to 96; pools by the mean, like ResNets."""

    def __init__(self, *, widths: Sequence[int] = (16, 32, 64, 128)) -> None:
        super().__init__(widths=widths, strides=(2, 2, 2, 2))


class NoEncoder(Encoder):
    """f_G of a system without a global encoder (TSM): an empty vector, and a map of one zero."""

    map_channels = 1
    vector_dim = 0

    def forward_map(self, x: Tensor) -> Tensor:
        """Zeros (N, 1, 1, 1)."""
        return x.new_zeros(len(x), 1, 1, 1)

    def pool(self, maps: Tensor) -> Tensor:
        """Empty vectors (N, 0)."""
        return maps.new_zeros(len(maps), 0)
