"""Configuration of a recogniser: its encoders, its classifier, its sizes and its normalisation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from adafocus_rl.errors import UserError


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """An encoder, and the source of its weights."""

    name: str
    """Registered name, see ``adafocus list``."""
    weights: str = "none"
    """``none`` (fresh), a published set by name (``IMAGENET1K_V1``), or a .safetensors, .pth or .pt file."""
    num_frames: int | None = None
    """Frames of a clip that it encodes together into one answer (AdaFocus-TSM: 8 for f_G, 12 for f_L). Null: it encodes
    each frame separately. Set it for both encoders or for neither."""


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
    """g, patch positions per side."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean of each colour channel, red first, for intensities in [0, 1] (ImageNet's by default)."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Standard deviation of each colour channel, for intensities in [0, 1]."""
    num_classes: int = 200
    """K."""


def clip_frames(config: ModelConfig) -> tuple[int, int] | None:
    """(T_G, T_L), the numbers of frames that f_G and f_L encode together; None if each frame is encoded separately.

    Raises:
        UserError: only one of the encoders has such a number, or it is below 1.
    """
    frames = config.glance.num_frames, config.focus.num_frames
    glance, focus = frames
    if glance is None and focus is None:
        return None
    if glance is None or focus is None:
        raise UserError(
            f"model.glance.num_frames is {glance} and model.focus.num_frames is {focus}; give both, for a clip is "
            "one step for both encoders, or neither"
        )
    if min(glance, focus) < 1:
        raise UserError(f"model.glance.num_frames and model.focus.num_frames are {frames}; give at least 1")
    return glance, focus


def check_model(config: ModelConfig) -> None:
    """Check the ranges of the sizes, the dropout and the normalisation.

    Raises:
        UserError: a value is out of range; the message names its key.
    """
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
