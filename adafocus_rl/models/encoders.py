"""The base class of encoders, their registry, and their creation by name."""

from __future__ import annotations

import abc
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from adafocus_rl.models.registry import ENCODERS, PACKAGES
from adafocus_rl.models.weights import load_encoder_weights


class Encoder(nn.Module, abc.ABC):
    """An image network without its classifier: it computes a feature map, and the map pooled to a vector.

    The policy reads f_G's map; the classifier reads the vectors of f_G and f_L. A subclass sets the two sizes,
    implements ``forward_map``, and may override ``published_weights``.
    """

    map_channels: int
    """C, channels of the feature map."""
    vector_dim: int
    """D, length of the pooled vector."""
    head_keys: tuple[str, ...] = ()
    """Name prefixes of the removed classifier; such tensors in a weights file are ignored."""
    temporal: bool = False
    """Whether it encodes the frames of a clip together; N is then a whole number of clips."""

    recompute: bool = False
    """Whether the backward pass recomputes activations instead of keeping them; ignored without ``blocks``."""

    def blocks(self) -> list[nn.Module]:
        """Sequential parts from image to map, each recomputed as a whole by ``recompute``; empty if there are none."""
        return []

    @abc.abstractmethod
    def forward_map(self, x: Tensor) -> Tensor:
        """Feature maps (N, C, h, w) of normalised images (N, 3, H, W) in the dtype of the weights."""

    def pool(self, maps: Tensor) -> Tensor:
        """Vectors (N, D) of feature maps (N, C, h, w): the mean over all positions."""
        return maps.mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Vectors (N, D) of normalised images (N, 3, H, W)."""
        return self.pool(self.forward_map(x))

    def eager(self) -> Encoder:
        """Return an encoder with the same activations that runs module by module: itself, unless it is compiled."""
        return self

    def set_num_frames(self, num_frames: int) -> None:
        """Set T for a ``temporal`` network: each T consecutive images along N are one clip."""

    def published_weights(self) -> Mapping[str, str]:
        """URL of each published set of weights, by its name; empty if there are none."""
        return {}


def create_encoder(name: str, *, weights: str = "none", option: str = "weights") -> Encoder:
    """Create an encoder by its registered name.

    Its weights use the channels-last layout, which makes small networks twice as fast on CPU.

    Args:
        name: one of ``ENCODERS.names()``, or ``timm:NAME`` for a network of timm.
        weights: ``none`` (initialised from torch's global generator), the name of published weights such as
            ``IMAGENET1K_V1`` (downloaded once into torch's cache), a ``.safetensors``, ``.pth`` or ``.pt`` file, or
            ``package:NAME/FILE`` for such a file in an installed package.
        option: the configuration key of the weights, for messages.

    Raises:
        UserError: the name is unknown, its package is not installed, or the weights are unknown, unreachable, or made
            for another network.
    """
    package, colon, network = name.partition(":")
    encoder = PACKAGES.get(package)(network) if colon else ENCODERS.get(name)()
    if weights != "none":
        load_encoder_weights(encoder, weights, name=name, option=option)
    return encoder.to(memory_format=torch.channels_last)
