"""What an encoder is, the registry of encoders, and how one is made from its name."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from adafocus_rl.models.weights import load_encoder_weights
from adafocus_rl.registry import Registry


class Encoder(nn.Module, abc.ABC):
    """An image network without its classifier: a feature map, and the map pooled to a vector.

    f_G gives the policy its map and the classifier its vector; f_L gives the classifier its vector only.
    A subclass sets the two sizes, implements ``forward_map``, and may say where published weights lie.
    """

    map_channels: int
    """C, channels of the feature map."""
    vector_dim: int
    """D, length of the pooled vector."""
    head_keys: tuple[str, ...] = ()
    """How the names of the left-out classifier begin; weights files may hold them, and they are ignored."""
    temporal: bool = False
    """Whether it looks at the frames of a clip together; then N is a whole number of clips."""

    recompute: bool = False
    """Whether activations are computed again for the gradients instead of being kept; for encoders that take notice."""

    def blocks(self) -> list[nn.Module]:
        """From image to map one after another, the pieces that ``recompute`` works on; empty: there are none."""
        return []

    @abc.abstractmethod
    def forward_map(self, x: Tensor) -> Tensor:
        """Feature maps (N, C, h, w) of normalised images (N, 3, H, W), in the dtype of the weights."""

    def pool(self, maps: Tensor) -> Tensor:
        """Vectors (N, D) of feature maps (N, C, h, w): the mean over all places."""
        return maps.mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Vectors (N, D) of normalised images (N, 3, H, W)."""
        return self.pool(self.forward_map(x))

    def set_num_frames(self, num_frames: int) -> None:
        """Tells a ``temporal`` network that T frames, one after another along N, make a clip."""

    def published_weights(self) -> Mapping[str, str]:
        """Address of each published set of weights by its name; empty where there are none."""
        return {}


ENCODERS: Registry[Callable[[], Encoder]] = Registry("encoder", "adafocus_rl.encoders")
"""Encoders by name; an entry is called without arguments and gives a freshly initialised network."""


def create_encoder(name: str, *, weights: str = "none", option: str = "weights") -> Encoder:
    """Makes an encoder from its registered name.

    Its weights are laid out channels-last, which makes small networks twice as fast on CPU.

    Args:
        name: one of ``ENCODERS.names()``.
        weights: ``none`` (fresh from torch's global generator), the name of published weights such as
            ``IMAGENET1K_V1`` (downloaded once into torch's cache), or a ``.safetensors``, ``.pth`` or
            ``.pt`` file.
        option: what the user would set to give other weights; used in messages.

    Raises:
        UserError: if the name is unknown, or the weights are unknown, unreachable, or made for another
            network.
    """
    encoder = ENCODERS.get(name)()
    if weights != "none":
        load_encoder_weights(encoder, weights, name=name, option=option)
    return encoder.to(memory_format=torch.channels_last)
