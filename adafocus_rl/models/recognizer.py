"""The recogniser: f_G, f_L and f_C with their sizes and their normalisation."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adafocus_rl.errors import UserError
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.models.chunks import maps_of, vectors_of
from adafocus_rl.models.classifiers import create_classifier
from adafocus_rl.models.config import ModelConfig, clip_frames
from adafocus_rl.models.encoders import Encoder, create_encoder

Part = Literal["glance", "focus", "classifier"]
PARTS: tuple[Part, ...] = get_args(Part)


def patch_grid(config: ModelConfig) -> PatchGrid:
    """Return the sizes and positions of patches.

    Raises:
        UserError: the patches do not fit in the frame, or two scales have the same side.
    """
    return PatchGrid(
        grid=config.grid, frame_size=config.frame_size, patch_size=config.patch_size, scales=config.patch_scales
    )


class Recognizer(nn.Module):
    """The three networks f_G, f_L and f_C; the caller decides which one runs on which input.

    Attributes:
        config: the configuration that it was built from.
        glance: f_G. focus: f_L. classifier: f_C over the concatenated vectors (D = D_G + D_L).
        grid: the grid of patch positions, which also crops.
        clip_frames: (T_G, T_L), the numbers of frames that f_G and f_L encode together; None if each frame is encoded
            separately.

    Args:
        config: sizes and parts.

    Raises:
        UserError: a name or a size is invalid, or weights are not available.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.num_classes < 1:
            raise UserError(f"model.num_classes is {config.num_classes}; give a number of at least 1")
        self.config = config
        self.grid = patch_grid(config)
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
        # (x / 255 − mean) / std as one multiply-add; not persistent because the configuration holds the numbers.
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (config.mean, config.std))
        self.register_buffer("scale", (1 / (255 * std)).float()[:, None, None], persistent=False)
        self.register_buffer("shift", (-mean / std).float()[:, None, None], persistent=False)
        self._frozen: tuple[Part, ...] = ()

    @property
    def num_actions(self) -> int:
        """A, the number of patch positions of all scales."""
        return self.grid.num_actions

    def parts(self) -> dict[Part, nn.Module]:
        """The three networks by name."""
        return {"glance": self.glance, "focus": self.focus, "classifier": self.classifier}

    def with_encoders(self, glance: Encoder, focus: Encoder) -> Recognizer:
        """Return a recogniser with other encoders f_G and f_L that shares everything else with this one."""
        other = copy.copy(self)
        other._modules = {**self._modules, "glance": glance, "focus": focus}
        return other

    def prepare(self, clips: Tensor) -> Tensor:
        """Normalise clips (…, 3, H, W) of uint8 intensities; floating-point clips are taken as already normalised.

        Returns:
            The same shape in the recogniser's dtype; clips must be on its device.

        Raises:
            ValueError: the clips are neither uint8 nor floating point.
        """
        dtype = self.scale.dtype
        if clips.is_floating_point():
            return clips.to(dtype)
        if clips.dtype != torch.uint8:
            raise ValueError(f"clips are {clips.dtype}; expected uint8 intensities or normalised floating point")
        return torch.addcmul(self.shift, clips.to(dtype), self.scale)

    def glance_features(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Run f_G on whole frames, resized by the factor glance size / frame size.

        Args:
            frames: (N, 3, S, S), prepared; frames of another side are resized by the same factor.

        Returns:
            Maps (N, C, h, w) and vectors (N, D_G).
        """
        size = round(frames.shape[-1] * self.config.glance_size / self.config.frame_size)
        if frames.shape[-2:] != (size, size):
            # Anti-aliased because plain bilinear sampling skips pixels when it shrinks, and in float32 because the CPU
            # kernel has no half precision.
            resized = F.interpolate(frames.float(), size=(size, size), mode="bilinear", antialias=True)
            frames = resized.to(frames.dtype)
        maps = maps_of(self.glance, frames)
        return maps, self.glance.pool(maps)

    def focus_features(self, patches: Tensor) -> Tensor:
        """Run f_L on prepared patches (N, 3, P, P), giving vectors (N, D_L)."""
        return vectors_of(self.focus, patches)

    def full_features(self, frames: Tensor) -> Tensor:
        """Run f_L on prepared whole frames (N, 3, S, S), giving vectors (N, D_L)."""
        return vectors_of(self.focus, frames)

    # ---- whole clips, step by step ------------------------------------------------------------------------------
    #
    # The policy chooses one patch per step. The f frames of a step are stacked on the channels, (…, f · 3, S, S), so
    # that all are cropped at the same place. Without ``clip_frames`` a step is a frame, f = 1. With them the whole clip
    # is one step of T_L frames, and f_G's T_G frames precede them in the clip.

    def num_steps(self, num_frames: int) -> int:
        """Number of steps of a clip of ``num_frames`` frames: one per frame, or 1 if the clip is encoded as a whole."""
        return num_frames if self.clip_frames is None else 1

    def glance_steps(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Compute f_G's features of each step.

        Args:
            clips: (B, F, 3, S, S), prepared.

        Returns:
            Maps (B, T, C, h, w) and vectors (B, T, D_G). If the clip is one step, the maps of its T_G frames are
            stacked on the channels (C is T_G times f_G's), and the vector is the mean of the frames' vectors.
        """
        frames = self.glance_frames(clips)
        maps, vectors = self.glance_features(frames.flatten(0, 1))
        maps, vectors = (part.unflatten(0, frames.shape[:2]) for part in (maps, vectors))
        if self.clip_frames is None:
            return maps, vectors
        return maps.flatten(1, 2)[:, None], vectors.mean(1, keepdim=True)

    def glance_frames(self, clips: Tensor) -> Tensor:
        """Select the frames of clips (B, F, …) that f_G encodes: all, or the first T_G."""
        return clips if self.clip_frames is None else clips[:, : self.clip_frames[0]]

    def focus_frames(self, clips: Tensor) -> Tensor:
        """Select the frames of clips (B, F, …) that f_L encodes: all, or the T_L frames after f_G's."""
        return clips if self.clip_frames is None else clips[:, self.clip_frames[0] :]

    def focus_steps(self, clips: Tensor) -> Tensor:
        """Arrange clips (B, F, 3, S, S) as steps (B, T, f · 3, S, S) from which patches are cropped."""
        frames = self.focus_frames(clips)
        return frames if self.clip_frames is None else frames.flatten(1, 2)[:, None]

    def focus_at(
        self, steps: Tensor, origin: Tensor, scale: Tensor | None = None, *, rows: Tensor | None = None
    ) -> Tensor:
        """Compute f_L's features of a patch, averaged over the frames of the step.

        Args:
            steps: (M, f · 3, S, S), rows of ``focus_steps``.
            origin: (N, 2) or (N, K, 2) crop origins, int64 pixels.
            scale: (N,) or (N, K) int64, the patches' scales; needed if the grid has several.
            rows: (N,) int64, the step of each; None for one after the other, N = M.

        Returns:
            (N, D_L) or (N, K, D_L).
        """
        patches = self.grid.crop(steps, origin, scale, rows=rows)
        vectors = self.focus_features(patches.reshape(-1, 3, *patches.shape[-2:]))
        return _mean(vectors.view(*origin.shape[:-1], -1, vectors.shape[-1]))

    def focus_whole(self, steps: Tensor) -> Tensor:
        """Compute f_L's features (N, D_L) of whole steps (N, f · 3, S, S), averaged over the frames of the step."""
        vectors = self.full_features(steps.reshape(-1, 3, *steps.shape[-2:]))
        return _mean(vectors.view(len(steps), steps.shape[1] // 3, vectors.shape[-1]))

    def signature(self) -> dict[str, Any]:
        """Plain values in which two recognisers must agree to exchange weights."""
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
            "patch_scales": list(config.patch_scales),
            "mean": list(config.mean),
            "std": list(config.std),
        }

    @contextmanager
    def freeze(self, *parts: Part) -> Iterator[None]:
        """Keep parts in evaluation mode and without gradients within the context, even after a call of ``train``.

        The ``requires_grad`` flags, the modes and earlier freezes are restored at the end.

        Raises:
            ValueError: a part is unknown.
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
        """Set the mode of all parts except frozen ones, whose batch statistics must not change."""
        super().train(mode)
        for part in self._frozen:
            self.parts()[part].eval()
        return self


def _mean(vectors: Tensor) -> Tensor:
    """Return the means (…, D) of vectors (…, f, D) over the f frames of a step."""
    return vectors.squeeze(-2) if vectors.shape[-2] == 1 else vectors.mean(-2)
