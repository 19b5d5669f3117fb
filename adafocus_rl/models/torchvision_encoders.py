"""torchvision's MobileNet-V2 and ResNets as encoders.

The networks are stored under ``net.`` with torchvision's own names, so that published files and the official AdaFocus
checkpoints (``glancer``: ``net.features.*``, ``focuser``: ``net.layer1.*``) need no table of names.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
import torchvision
from torch import Tensor, nn

from adafocus_rl.models.encoders import Encoder
from adafocus_rl.models.recompute import run_blocks


class TorchvisionEncoder(Encoder):
    """The part of a torchvision network that comes before its classifier.

    Args:
        model: torchvision's name of the network.
    """

    def __init__(self, model: str) -> None:
        super().__init__()
        self.model = model
        # One class: the classifier is removed at once, and a small one costs nothing.
        self.net: nn.Module = torchvision.models.get_model(model, weights=None, num_classes=1)

    def published_weights(self) -> Mapping[str, str]:
        """URL of each of torchvision's sets of weights for this network, by its name."""
        weights = torchvision.models.get_model_weights(self.model)
        return {name: member.url for name, member in weights.__members__.items()}


class MobileNetV2Encoder(TorchvisionEncoder):
    """MobileNet-V2: maps (N, 1280, H/32, W/32), the paper's f_G."""

    map_channels = 1280
    vector_dim = 1280
    head_keys = ("net.classifier.",)

    def __init__(self) -> None:
        super().__init__("mobilenet_v2")
        self.net.classifier = nn.Identity()

    def blocks(self) -> list[nn.Module]:
        """The stem, the inverted residuals, and the last convolution."""
        return list(self.net.get_submodule("features").children())

    def forward_map(self, x: Tensor) -> Tensor:
        """Feature maps (N, 1280, h, w) of normalised images (N, 3, H, W)."""
        return run_blocks(self.blocks(), x.contiguous(memory_format=torch.channels_last), recompute=self.recompute)


class ResNetEncoder(TorchvisionEncoder):
    """A ResNet: maps (N, D, H/32, W/32); ResNet-50 (D = 2048) is the paper's f_L.

    Args:
        model: ``resnet18``, ``resnet34``, ``resnet50`` or ``resnet101``.
    """

    head_keys = ("net.fc.",)

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.vector_dim = self.map_channels = self.net.get_parameter("fc.weight").shape[1]
        self.net.fc = nn.Identity()

    def blocks(self) -> list[nn.Module]:
        """The stem and the residual blocks."""
        stem = nn.Sequential(*(self.net.get_submodule(name) for name in ("conv1", "bn1", "relu", "maxpool")))
        layers = [self.net.get_submodule(name) for name in ("layer1", "layer2", "layer3", "layer4")]
        return [stem, *(block for layer in layers for block in layer.children())]

    def forward_map(self, x: Tensor) -> Tensor:
        """Feature maps (N, D, h, w) of normalised images (N, 3, H, W)."""
        return run_blocks(self.blocks(), x.contiguous(memory_format=torch.channels_last), recompute=self.recompute)


resnet18 = partial(ResNetEncoder, "resnet18")
resnet34 = partial(ResNetEncoder, "resnet34")
resnet50 = partial(ResNetEncoder, "resnet50")
resnet101 = partial(ResNetEncoder, "resnet101")
