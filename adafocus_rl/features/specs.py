"""Specifications of the tables of a bank: content, dependencies, and computation."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from adafocus_rl.checkpoint import tensors_hash
from adafocus_rl.features.motion import thumbnails
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.models.chunks import vectors_of
from adafocus_rl.models.recognizer import Recognizer

MAX_PATCH_PIXELS = 1 << 22
"""Largest number of pixels in one batch of patches for f_L (256 patches of 128²); bounds memory for any grid."""

CLIPS = "clips"
"""Name of the table that every bank has: labels, boxes, and which videos could be decoded."""

SCALES = "patch_scales"
"""Entry of the manifest of ``local`` with the patches' scales; without it, there is one scale, 1."""

NAME = re.compile(r"[A-Za-z]\w{0,63}", re.ASCII)
"""Names of tables, which become names of folders and files."""


class EncodedFrames:
    """Frames of a few clips, and their features.

    Each value is computed at its first use and cached, so an encoder runs once for all tables that are filled together,
    and not at all if no table needs it.

    Args:
        recognizer: frozen f_G and f_L.
        clips: (B, T, 3, S, S), uint8 or prepared, on any device.
    """

    def __init__(self, recognizer: Recognizer, clips: Tensor) -> None:
        self.recognizer = recognizer
        self.clips = clips
        self._resized: dict[tuple[str, int], Tensor] = {}

    @cached_property
    def frames(self) -> Tensor:
        """(N, 3, S, S) with N = B · T, prepared for the encoders, on their device."""
        clips = self.clips.to(self.recognizer.scale.device, non_blocking=True)
        return self.recognizer.prepare(clips).flatten(0, 1)

    @cached_property
    def glance(self) -> tuple[Tensor, Tensor]:
        """Maps (N, C, h, w) and vectors (N, D_G): f_G on whole frames."""
        return self.recognizer.glance_features(self.frames)

    @cached_property
    def patches(self) -> Tensor:
        """(N, A, D_L): f_L on the patch of every scale at every grid position."""
        # Scale by scale, because a batch of patches of several scales would be cropped at each of them.
        return torch.cat([self._patches_on(grid) for grid in self.recognizer.grid.each], dim=1)

    def _patches_on(self, grid: PatchGrid) -> Tensor:
        """Return f_L's features (N, g², D_L) of the patches of a grid of one scale."""
        origins = grid.action_origin(torch.arange(grid.num_actions, device=self.frames.device))
        rows = max(1, MAX_PATCH_PIXELS // (grid.num_actions * max(grid.side, grid.patch_size) ** 2))
        parts = []
        for part in self.frames.split(rows):
            patches = grid.crop(part, origins.expand(len(part), -1, -1))
            parts.append(self.recognizer.focus_features(patches.flatten(0, 1)).unflatten(0, (len(part), -1)))
        return torch.cat(parts)

    @cached_property
    def whole(self) -> Tensor:
        """(N, D_L): f_L on whole frames."""
        return self.recognizer.focus_whole(self.frames)

    def at(self, part: Literal["glance", "focus"], size: int) -> Tensor:
        """Return vectors (N, D) of f_G or f_L on whole frames that are resized to ``size`` pixels."""
        if (part, size) not in self._resized:
            frames = self.frames
            if size != frames.shape[-1]:
                # As f_G's input; see ``Recognizer.glance_features``.
                resized = F.interpolate(frames.float(), size=(size, size), mode="bilinear", antialias=True)
                frames = resized.to(frames.dtype)
            encoder = self.recognizer.glance if part == "glance" else self.recognizer.focus
            self._resized[part, size] = vectors_of(encoder, frames)
        return self._resized[part, size]


Dependency = Callable[[Recognizer], Mapping[str, Any]]
"""Function that returns the names and plain values on which features depend; if one changes, they are stale."""


def normalization(recognizer: Recognizer) -> dict[str, Any]:
    """Return the mean and standard deviation with which frames are normalised."""
    return {"mean": list(recognizer.config.mean), "std": list(recognizer.config.std)}


def glance_encoder(recognizer: Recognizer) -> dict[str, Any]:
    """Return f_G's name, the hash of its weights, and its input size."""
    return {
        "glance_encoder": recognizer.config.glance.name,
        "glance_size": recognizer.config.glance_size,
        "glance_weights": tensors_hash(recognizer.glance),
    }


def glance_weights(recognizer: Recognizer) -> dict[str, Any]:
    """Return f_G's name and the hash of its weights, for features of another input size than f_G's own."""
    return {"glance_encoder": recognizer.config.glance.name, "glance_weights": tensors_hash(recognizer.glance)}


def focus_encoder(recognizer: Recognizer) -> dict[str, Any]:
    """Return f_L's name and the hash of its weights."""
    return {"focus_encoder": recognizer.config.focus.name, "focus_weights": tensors_hash(recognizer.focus)}


def patch_grid(recognizer: Recognizer) -> dict[str, Any]:
    """Return the positions and the sizes of patches."""
    grid = recognizer.grid
    sizes = {"grid": grid.grid, "frame_size": grid.frame_size, "patch_size": grid.patch_size}
    # Left out without other scales, so that tables keep their identity.
    return sizes if grid.scales == (1.0,) else {**sizes, SCALES: list(grid.scales)}


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """Declares a table of features, with one row for each frame.

    Every table depends on the frames: the list of videos, the number of frames and the evaluation transforms. All other
    dependencies are declared here.

    Raises:
        ValueError: the name is not valid for a folder, or is reserved.
    """

    name: str
    """Letters, digits and underscores; unique in a store."""

    fill: Callable[[EncodedFrames], Tensor]
    """Computes the rows (N, …) of N frames. They are stored as float16, or in 8 bits (``build_bank``)."""

    depends: tuple[Dependency, ...] = ()
    """Dependencies of the rows besides the frames. A table of another encoder adds a function that returns the hash of
    that encoder's weights."""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name) or self.name == CLIPS or self.name.startswith("shard_"):
            raise ValueError(f"a table cannot be named {self.name!r}; give letters, digits and underscores")


DEFAULT_TABLES = (
    TableSpec(name="global_map", fill=lambda chunk: chunk.glance[0], depends=(normalization, glance_encoder)),
    TableSpec(name="global_vector", fill=lambda chunk: chunk.glance[1], depends=(normalization, glance_encoder)),
    TableSpec(name="local", fill=lambda chunk: chunk.patches, depends=(normalization, focus_encoder, patch_grid)),
    TableSpec(name="full", fill=lambda chunk: chunk.whole, depends=(normalization, focus_encoder)),
    TableSpec(name="thumbnail", fill=lambda chunk: thumbnails(chunk.frames), depends=(normalization,)),
)
"""The tables that a ``FeatureBank`` needs."""

GLANCE_VECTORS = next(spec for spec in DEFAULT_TABLES if spec.name == "global_vector")
"""f_G's vectors at its own input size."""

FULL = next(spec for spec in DEFAULT_TABLES if spec.name == "full")
"""f_L's vectors of whole frames."""


def vectors_at(part: Literal["glance", "focus"], size: int) -> TableSpec:
    """Return the table of f_G's or f_L's vectors of whole frames that are resized to ``size`` pixels."""
    weights = glance_weights if part == "glance" else focus_encoder
    return TableSpec(
        name=f"{part}_at{size}",
        fill=lambda chunk: chunk.at(part, size),
        depends=(normalization, weights),
    )
