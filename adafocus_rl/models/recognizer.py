"""The recogniser: f_G, f_L and f_C together, with the sizes and the normalisation that belong to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adafocus_rl.errors import UserError
from adafocus_rl.files import user_path
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
    num_frames: int | None = None
    """Frames of a clip that it looks at together and sums up in one answer (AdaFocus-TSM: 8 for f_G, 12 for f_L). Null:
    each frame by itself. Both encoders have such a number, or neither."""


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
        clip_frames: (T_G, T_L), how many frames f_G and f_L look at together; None if at each by itself.

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
        self.clip_frames = clip_frames(config)
        self.glance = create_encoder(config.glance.name, weights=config.glance.weights, option="model.glance.weights")
        self.focus = create_encoder(config.focus.name, weights=config.focus.weights, option="model.focus.weights")
        for part, encoder in (("glance", self.glance), ("focus", self.focus)):
            frames = getattr(config, part).num_frames
            if frames is not None:
                encoder.set_num_frames(frames)
            elif encoder.temporal:
                raise UserError(
                    f"model.{part} is {getattr(config, part).name}, which looks at the frames of a clip together; say "
                    f"at how many with model.{part}.num_frames"
                )
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

    @staticmethod
    def load(run: str | Path, *, device: torch.device | str = "cpu") -> Recognizer:
        """The recogniser of a run folder, or of one checkpoint file, in evaluation mode.

        Args:
            run: a run folder: f_G and f_L as stage I left them, and f_C as stage III did, if it was run; or the file of
                a checkpoint with a recogniser.
            device: where it goes.

        Raises:
            UserError: if there is no such run or file, or it holds no recogniser.
        """
        from adafocus_rl.models.saving import load_run  # which imports this module

        return load_run(user_path(run), device=device)

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

    # ---- whole clips, step by step ------------------------------------------------------------------------------
    #
    # A step is what one patch is chosen for. Its f frames go along the channels, so that they are cut at one place:
    # (…, f · 3, S, S). Without ``clip_frames`` a step is a frame, f = 1. With them the whole clip is one step of T_L
    # frames, and the T_G frames that f_G looks at come before them in the clip.

    def num_steps(self, num_frames: int) -> int:
        """T, steps of a clip of so many frames."""
        return num_frames if self.clip_frames is None else 1

    def glance_steps(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """f_G's features of each step.

        Args:
            clips: (B, F, 3, S, S), prepared.

        Returns:
            Maps (B, T, C, h, w) and vectors (B, T, D_G). If the clip is one step, the maps of its T_G frames are
            stacked on the channels (C = T_G times f_G's), and the vector is the mean of theirs.
        """
        frames = self.glance_frames(clips)
        maps, vectors = self.glance_features(frames.flatten(0, 1))
        maps, vectors = (part.unflatten(0, frames.shape[:2]) for part in (maps, vectors))
        if self.clip_frames is None:
            return maps, vectors
        return maps.flatten(1, 2)[:, None], vectors.mean(1, keepdim=True)

    def glance_frames(self, clips: Tensor) -> Tensor:
        """The frames of clips (B, F, …) that f_G looks at: all, or the first T_G."""
        return clips if self.clip_frames is None else clips[:, : self.clip_frames[0]]

    def focus_frames(self, clips: Tensor) -> Tensor:
        """The frames of clips (B, F, …) that f_L looks at: all, or the T_L that come after f_G's."""
        return clips if self.clip_frames is None else clips[:, self.clip_frames[0] :]

    def focus_steps(self, clips: Tensor) -> Tensor:
        """What patches are cut from: (B, T, f · 3, S, S) of clips (B, F, 3, S, S)."""
        frames = self.focus_frames(clips)
        return frames if self.clip_frames is None else frames.flatten(1, 2)[:, None]

    def focus_at(self, steps: Tensor, origin: Tensor) -> Tensor:
        """f_L's features of a patch at one place in all frames of a step; their mean, if they are several.

        Args:
            steps: (N, f · 3, S, S), rows of ``focus_steps``.
            origin: (N, 2) or (N, K, 2) crop origins, int64 pixels.

        Returns:
            (N, D_L) or (N, K, D_L).
        """
        patches = self.grid.crop(steps, origin)
        vectors = self.focus_features(patches.reshape(-1, 3, *patches.shape[-2:]))
        return vectors.view(*origin.shape[:-1], -1, vectors.shape[-1]).mean(-2)

    def focus_whole(self, steps: Tensor) -> Tensor:
        """f_L's features (N, D_L) of whole steps (N, f · 3, S, S); the mean over a step's frames."""
        vectors = self.full_features(steps.reshape(-1, 3, *steps.shape[-2:]))
        return vectors.view(len(steps), -1, vectors.shape[-1]).mean(1)

    def signature(self) -> dict[str, Any]:
        """Plain values that two recognisers must share for one's weights to mean the same in the other."""
        config = self.config
        return {
            "glance": config.glance.name,
            "clip_frames": None if self.clip_frames is None else list(self.clip_frames),
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
        """Within the context, these parts stay in evaluation mode and take no gradients, also after ``train``.

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


def clip_frames(config: ModelConfig) -> tuple[int, int] | None:
    """(T_G, T_L), how many frames of a clip f_G and f_L look at together; None if at each by itself.

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
