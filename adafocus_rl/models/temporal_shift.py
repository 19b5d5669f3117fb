"""MobileNet-V2 and ResNets with temporal shift, which mixes features of neighbouring frames of a clip.

Source: Lin et al. 2019, "TSM: Temporal Shift Module for Efficient Video Understanding". The shift has no weights and
the networks are torchvision's, so every parameter keeps torchvision's name and published ImageNet weights fit. In the
public TSM code and in AdaFocus-TSM's checkpoints, a wrapper around each shifted convolution adds a level to the name
(``conv1.net.weight``).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock, Bottleneck

from adafocus_rl.models.torchvision_encoders import MobileNetV2Encoder, ResNetEncoder

SHIFT_DIV = 8
"""One in ``SHIFT_DIV`` channels is shifted forward, and as many back (TSM's ``shift_div``)."""


def temporal_shift(x: Tensor, num_frames: int, *, div: int = SHIFT_DIV) -> Tensor:
    """Shift C/div channels back by one frame and the next C/div channels forward by one frame, with zeros at the ends.

    Args:
        x: (B · T, C, h, w), the frames of each clip in order.
        num_frames: T.
        div: fraction of the channels that moves each way, as its denominator.

    Returns:
        The same shape. In the first C // div channels frame t holds the values of frame t + 1, in the next C // div
        those of frame t − 1, and in the other channels its own.

    Raises:
        ValueError: the number of frames is not a multiple of T.
    """
    if len(x) % num_frames:
        raise ValueError(f"{len(x)} frames are no whole clips of {num_frames}")
    fold = x.shape[1] // div
    # Created before the view on it, so that it keeps the memory layout that the convolution expects.
    shifted = torch.zeros_like(x)
    to, of = (part.unflatten(0, (-1, num_frames)) for part in (shifted, x))
    to[:, :-1, :fold] = of[:, 1:, :fold]
    to[:, 1:, fold : 2 * fold] = of[:, :-1, fold : 2 * fold]
    to[:, :, 2 * fold :] = of[:, :, 2 * fold :]
    return shifted


class ShiftedConv2d(nn.Conv2d):
    """A convolution that first shifts its input in time; parameter names do not change.

    Args:
        conv: the convolution to replace, without a bias; its weight is reused.
        num_frames: T.
    """

    def __init__(self, conv: nn.Conv2d, num_frames: int) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]  # a tuple of two, typed as a tuple of any length
            stride=conv.stride,  # type: ignore[arg-type]
            padding=conv.padding,  # type: ignore[arg-type]
            groups=conv.groups,
            bias=False,
            device="meta",  # the weight is replaced at once, so it needs no memory and no random numbers
        )
        self.weight = conv.weight
        self.num_frames = num_frames

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B · T, C', h', w') of maps (B · T, C, h, w)."""
        return super().forward(temporal_shift(x, self.num_frames))

    def extra_repr(self) -> str:
        """Arguments of the convolution, and T."""
        return f"{super().extra_repr()}, num_frames={self.num_frames}"  # type: ignore[no-untyped-call]


def _shift_first_convolutions(network: nn.Module, num_frames: int) -> None:
    """Add the shift to the residual branch of every block of a torchvision network, in place.

    It precedes each block's first convolution in ResNets (TSM's ``blockres``), and in MobileNet-V2 the expansion of
    each block that has an expansion and an identity.
    """
    for block in list(network.modules()):
        if isinstance(block, (BasicBlock, Bottleneck)):
            block.conv1 = ShiftedConv2d(block.conv1, num_frames)
        elif isinstance(block, InvertedResidual) and block.use_res_connect and len(block.conv) == 4:
            expansion = block.conv[0]
            expansion[0] = ShiftedConv2d(expansion[0], num_frames)


def _set_num_frames(network: nn.Module, num_frames: int) -> None:
    for module in network.modules():
        if isinstance(module, ShiftedConv2d):
            module.num_frames = num_frames


class TSMMobileNetV2Encoder(MobileNetV2Encoder):
    """MobileNet-V2 with temporal shift, AdaFocus-TSM's f_G; maps (B · T, 1280, H/32, W/32).

    Args:
        num_frames: T, frames of a clip (8 in the paper).
    """

    temporal = True

    def __init__(self, num_frames: int = 8) -> None:
        super().__init__()
        _shift_first_convolutions(self.net, num_frames)

    def set_num_frames(self, num_frames: int) -> None:
        """Set the number of frames of a clip in every shift."""
        _set_num_frames(self.net, num_frames)


class TSMResNetEncoder(ResNetEncoder):
    """A ResNet with temporal shift; with ``resnet50`` AdaFocus-TSM's f_L; maps (B · T, D, H/32, W/32).

    Args:
        model: ``resnet18``, ``resnet34`` or ``resnet50``. (In ResNet-101 TSM shifts every second block only.)
        num_frames: T, frames of a clip (12 in the paper; 8 in TSM and TSM+).
    """

    temporal = True

    def __init__(self, model: str, num_frames: int = 8) -> None:
        super().__init__(model)
        _shift_first_convolutions(self.net, num_frames)

    def set_num_frames(self, num_frames: int) -> None:
        """Set the number of frames of a clip in every shift."""
        _set_num_frames(self.net, num_frames)


tsm_resnet18 = partial(TSMResNetEncoder, "resnet18")
tsm_resnet34 = partial(TSMResNetEncoder, "resnet34")
tsm_resnet50 = partial(TSMResNetEncoder, "resnet50")
