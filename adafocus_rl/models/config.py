"""Configuration of a recogniser: its encoders, its classifier, its sizes and its normalisation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from adafocus_rl.errors import UserError
from adafocus_rl.options import require, require_range

FILE_SUFFIXES = (".safetensors", ".pth", ".pt")
"""Endings of files of weights."""

IN_PACKAGE = "package:"
"""Beginning of the name of a file of weights in an installed package: ``package:NAME/FILE``."""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """An encoder, and the source of its weights."""

    name: str
    """Registered name, see ``adafocus list``; or ``timm:NAME`` for a convolutional network of the package timm."""
    weights: str = "none"
    """``none`` (fresh), a published set by name (``IMAGENET1K_V1``), a .safetensors, .pth or .pt file, or
    ``package:NAME/FILE`` for such a file in an installed package."""
    num_frames: int | None = None
    """Frames of a clip that it encodes together into one answer (AdaFocus-TSM: 8 for f_G, 12 for f_L). Null: it encodes
    each frame separately. Set it for both encoders or for neither."""

    def __post_init__(self) -> None:
        require_range(self, "num_frames", least=1, most=10_000)


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """The classifier f_C over the features of a clip."""

    name: Literal["gru", "average", "max_pool"] = "gru"
    """``gru``: the paper's recurrent classifier; ``average``: mean of the frames' own logits; ``max_pool``: the running
    maximum of AdaFocusV2, which was published with ``hidden`` 4096 and ``dropout`` 0.2."""
    hidden: int = 1024
    """Length of the GRU's hidden vector, or of the vectors that ``max_pool`` compares; the averaging classifier has
    none."""
    dropout: float = 0.8
    """Probability of dropping an entry of the linear layer's input while training, in [0, 1)."""

    def __post_init__(self) -> None:
        require_range(self, "hidden", least=1, most=16_384)
        require(self, "dropout", 0 <= self.dropout < 1, "a probability of at least 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The recogniser; the defaults are those published for ActivityNet."""

    glance: EncoderConfig = field(default_factory=lambda: EncoderConfig(name="mobilenet_v2"))
    """f_G, the cheap encoder of whole frames."""
    focus: EncoderConfig = field(default_factory=lambda: EncoderConfig(name="resnet50"))
    """f_L, the expensive encoder of patches."""
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    """f_C, over the features of both encoders."""
    frame_size: int = 224
    """S, side in pixels of the square frames that patches are cut from."""
    glance_size: int = 224
    """Side in pixels to which a frame is resized for f_G."""
    patch_size: int = 128
    """P, side of a patch in pixels of the frame."""
    grid: int = 7
    """g, patch positions per side, and per scale."""
    patch_scales: tuple[float, ...] = (1.0,)
    """Sizes of patches relative to P that the policy selects from. A patch of scale s is cropped with a side of s · P
    pixels, at most S, and resized to P for f_L. There are g² positions for each scale."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean of each colour channel, red first, for intensities in [0, 1] (ImageNet's by default)."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Standard deviation of each colour channel, for intensities in [0, 1]."""
    num_classes: int = 200
    """K."""

    def __post_init__(self) -> None:
        require_range(self, "frame_size", "glance_size", "patch_size", least=1, most=16_384)
        require_range(self, "grid", least=1, most=1024)
        fits = 0 < len(self.patch_scales) <= 64 and all(0 < scale <= 1024 for scale in self.patch_scales)
        require(self, "patch_scales", fits, "1 to 64 numbers above 0 and at most 1024")
        require_range(self, "num_classes", least=0, most=1_000_000)
        require(self, "std", min(self.std) > 0, "three numbers above 0")


def clip_frames(config: ModelConfig) -> tuple[int, int] | None:
    """(T_G, T_L), the numbers of frames that f_G and f_L encode together; None if each frame is encoded separately.

    Raises:
        UserError: only one of the encoders has such a number.
    """
    glance, focus = config.glance.num_frames, config.focus.num_frames
    if glance is None and focus is None:
        return None
    if glance is None or focus is None:
        raise UserError(
            f"model.glance.num_frames is {glance} and model.focus.num_frames is {focus}; give both, for a clip is "
            "one step for both encoders, or neither"
        )
    return glance, focus
