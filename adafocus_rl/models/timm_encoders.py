"""Networks of the package timm as encoders, by their names there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from adafocus_rl.errors import UserError, first_line, needs_extra
from adafocus_rl.models.encoders import Encoder
from adafocus_rl.suggestions import nearest

PROBE_SIDE = 64
"""Side in pixels of the blank image from which the shape of a network's map is read."""


class TimmEncoder(Encoder):
    """A network of timm up to its feature map, ``forward_features``; the vector is the map's mean over all positions.

    Args:
        model: timm's name of the network, such as ``mobilenetv3_small_100``.

    Raises:
        UserError: timm is not installed, has no such network, or the network has no map (N, C, h, w) for images of any
            size, as vision transformers have none.
    """

    def __init__(self, model: str) -> None:
        super().__init__()
        timm = _timm(model)
        # Other forms of names (hf-hub:…) would fetch a configuration from a network.
        if not timm.is_model(model):
            near = nearest(model, timm.list_models(), alike=0.5)
            meant = f"; did you mean 'timm:{near}'?" if near else ";"
            raise UserError(f"unknown encoder 'timm:{model}'{meant} timm {timm.__version__} has no such network")
        # Without classes there is no classifier.
        self.net: nn.Module = timm.create_model(model, pretrained=False, num_classes=0)
        self.head_keys = tuple(f"net.{name}." for name in _heads(self.net))
        self.map_channels = self.vector_dim = self._channels(model)

    def forward_map(self, x: Tensor) -> Tensor:
        """Feature maps (N, C, h, w) of normalised images (N, 3, H, W)."""
        maps: Tensor = self.net.forward_features(x.contiguous(memory_format=torch.channels_last))  # type: ignore[operator]
        return maps

    @torch.no_grad()
    def _channels(self, model: str) -> int:
        """Return C, after a check that the network has maps."""
        image = next(self.net.parameters()).new_zeros(1, 3, PROBE_SIDE, PROBE_SIDE)
        self.net.eval()  # so that no statistics change
        try:
            shape = tuple(self.forward_map(image).shape)
        except (AssertionError, RuntimeError, ValueError) as error:
            raise UserError(
                f"encoder 'timm:{model}' does not take images of {PROBE_SIDE}×{PROBE_SIDE} pixels "
                f"({first_line(error)}); give a convolutional network, which takes images of any size"
            ) from error
        finally:
            self.net.train()
        # The image is square, so its map is, too. Some networks give (N, h, w, C).
        if len(shape) != 4 or shape[2] != shape[3]:
            raise UserError(
                f"encoder 'timm:{model}' gives features of shape {shape} instead of maps (N, C, h, w); give a "
                "convolutional network"
            )
        return shape[1]


def _timm(model: str) -> Any:
    try:
        import timm
    except ImportError:
        raise needs_extra(f"encoder 'timm:{model}'", "timm", extra="timm") from None
    return timm


def _heads(net: nn.Module) -> tuple[str, ...]:
    """Return the names of the classifiers in files of weights for this network."""
    named: Any = getattr(net, "pretrained_cfg", {}).get("classifier") or ()
    return (named,) if isinstance(named, str) else tuple(named)
