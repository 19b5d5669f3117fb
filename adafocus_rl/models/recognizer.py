"""The recogniser: f_G, f_L and f_C together, with the sizes and the normalisation that belong to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adafocus_rl.errors import UserError
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.models.classifiers import create_classifier
from adafocus_rl.models.encoders import create_encoder

Part = Literal["glance", "focus", "classifier"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Which encoder, and where its weights come from."""

    name: str
    """Registered name, see ``adafocus list``."""
    weights: str = "none"
    """``none`` (fresh), a published set by name (``IMAGENET1K_V1``), or a .safetensors, .pth or .pt file."""


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """The classifier f_C over the features of a clip."""

    name: Literal["gru", "average"] = "gru"
    """``gru``: the paper's recurrent classifier; ``average``: mean of the frames' own logits."""
    hidden: int = 1024
    """Length of the GRU's hidden vector; the averaging classifier has none."""
    dropout: float = 0.8
    """Probability of dropping an entry of the linear layer's input while training."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The recogniser; the defaults are the published ones for ActivityNet."""

    glance: EncoderConfig = field(default_factory=lambda: EncoderConfig(name="mobilenet_v2"))
    """f_G, the cheap encoder that sees every frame whole."""
    focus: EncoderConfig = field(default_factory=lambda: EncoderConfig(name="resnet50"))
    """f_L, the expensive encoder that sees patches."""
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    """f_C, over the features of both encoders."""
    frame_size: int = 224
    """S, side in pixels of the square frames that patches are cut from."""
    glance_size: int = 224
    """Side in pixels to which a frame is resized for f_G."""
    patch_size: int = 128
    """P, side of a patch in pixels of the frame."""
    grid: int = 7
    """g, patch positions per side."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean of each colour channel, red first, of intensities in [0, 1] (ImageNet's by default)."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Standard deviation of each colour channel of intensities in [0, 1]."""
    num_classes: int = 200
    """K."""


class Recognizer(nn.Module):
    """f_G, f_L and f_C. Which part runs on what, and when, is decided by whoever calls it.

    Attributes:
        config: what it was made from.
        glance: f_G. focus: f_L. classifier: f_C over the joined vectors (D = D_G + D_L).
        grid: the patch positions, and the crops.

    Args:
        config: sizes and parts.

    Raises:
        UserError: if a name or a size is impossible, or weights cannot be had.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        _check(config)
        self.config = config
        self.grid = PatchGrid(grid=config.grid, frame_size=config.frame_size, patch_size=config.patch_size)
        self.glance = create_encoder(config.glance.name, weights=config.glance.weights, option="model.glance.weights")
        self.focus = create_encoder(config.focus.name, weights=config.focus.weights, option="model.focus.weights")
        self.classifier = create_classifier(
            config.classifier.name,
            input_dim=self.glance.vector_dim + self.focus.vector_dim,
            num_classes=config.num_classes,
            hidden=config.classifier.hidden,
            dropout=config.classifier.dropout,
        )
        # (x / 255 − mean) / std as one multiply-add; not persistent, for the configuration holds the numbers.
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (config.mean, config.std))
        self.register_buffer("scale", (1 / (255 * std)).float()[:, None, None], persistent=False)
        self.register_buffer("shift", (-mean / std).float()[:, None, None], persistent=False)
        self._frozen: tuple[Part, ...] = ()

    @property
    def num_actions(self) -> int:
        """A, the number of patch positions."""
        return self.grid.num_actions

    def parts(self) -> dict[Part, nn.Module]:
        """The three networks by name."""
        return {"glance": self.glance, "focus": self.focus, "classifier": self.classifier}

    def prepare(self, clips: Tensor) -> Tensor:
        """Normalises clips (…, 3, H, W) of uint8 intensities; floating point passes as normalised already.

        Returns:
            The same shape in the dtype of the recogniser; clips must lie on its device.

        Raises:
            ValueError: if the clips are neither uint8 nor floating point.
        """
        dtype = self.scale.dtype
        if clips.is_floating_point():
            return clips.to(dtype)
        if clips.dtype != torch.uint8:
            raise ValueError(f"clips are {clips.dtype}; expected uint8 intensities or normalised floating point")
        return torch.addcmul(self.shift, clips.to(dtype), self.scale)

    def glance_features(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """f_G on whole frames, first resized by the factor glance size / frame size.

        Args:
            frames: (N, 3, S, S), prepared; or of another side, and then resized by the same factor.

        Returns:
            Maps (N, C, h, w) and vectors (N, D_G).
        """
        size = round(frames.shape[-1] * self.config.glance_size / self.config.frame_size)
        if frames.shape[-2:] != (size, size):
            # Anti-aliased, since plain bilinear sampling skips pixels when it shrinks; and in float32, since
            # the kernel for CPU knows no half precision.
            resized = F.interpolate(frames.float(), size=(size, size), mode="bilinear", antialias=True)
            frames = resized.to(frames.dtype)
        maps = self.glance.forward_map(frames)
        return maps, self.glance.pool(maps)

    def focus_features(self, patches: Tensor) -> Tensor:
        """f_L on patches (N, 3, P, P), prepared: vectors (N, D_L)."""
        vectors: Tensor = self.focus(patches)
        return vectors

    def full_features(self, frames: Tensor) -> Tensor:
        """f_L on whole frames (N, 3, S, S), prepared: vectors (N, D_L)."""
        vectors: Tensor = self.focus(frames)
        return vectors

    def signature(self) -> dict[str, Any]:
        """Plain values that two recognisers must share for one's weights to mean the same in the other."""
        config = self.config
        return {
            "glance": config.glance.name,
            "glance_dim": self.glance.vector_dim,
            "focus": config.focus.name,
            "focus_dim": self.focus.vector_dim,
            "classifier": config.classifier.name,
            "state_dim": self.classifier.state_dim,
            "num_classes": config.num_classes,
            "frame_size": config.frame_size,
            "glance_size": config.glance_size,
            "patch_size": config.patch_size,
            "grid": config.grid,
            "mean": list(config.mean),
            "std": list(config.std),
        }

    @contextmanager
    def freeze(self, *parts: Part) -> Iterator[None]:
        """Within the context, these parts stay in evaluation mode and take no gradients, also after `train`.

        The parameters' flags, the modes, and earlier freezes are put back at the end.

        Raises:
            ValueError: if a part is unknown.
        """
        unknown = set(parts) - set(PARTS)
        if unknown:
            raise ValueError(f"unknown parts {sorted(unknown)}; expected some of {PARTS}")
        modules = [self.parts()[part] for part in parts]
        modes = [(module, module.training) for part in modules for module in part.modules()]
        parameters = [parameter for part in modules for parameter in part.parameters()]
        gradients = [(parameter, parameter.requires_grad) for parameter in parameters]
        before, self._frozen = self._frozen, (*self._frozen, *parts)
        for module in modules:
            module.eval().requires_grad_(False)
        try:
            yield
        finally:
            self._frozen = before
            for module, mode in modes:
                module.training = mode
            for parameter, flag in gradients:
                parameter.requires_grad_(flag)

    def train(self, mode: bool = True) -> Recognizer:
        """Sets the mode of all parts but the frozen ones, whose batch statistics must not move."""
        super().train(mode)
        for part in self._frozen:
            self.parts()[part].eval()
        return self


def _check(config: ModelConfig) -> None:
    sizes = {
        "num_classes": config.num_classes,
        "glance_size": config.glance_size,
        "classifier.hidden": config.classifier.hidden,
    }
    for name, value in sizes.items():
        if value < 1:
            raise UserError(f"model.{name} is {value}; give a number of at least 1")
    if not 0 <= config.classifier.dropout < 1:
        raise UserError(
            f"model.classifier.dropout is {config.classifier.dropout}; give a probability of at least 0 and below 1"
        )
    if min(config.std) <= 0:
        raise UserError(f"model.std is {config.std}; give three numbers above 0")
