"""Options of the transforms from frames to clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from adafocus_rl.errors import UserError


@dataclass(frozen=True, kw_only=True)
class TransformConfig:
    """How frames become a clip of (T, 3, S, S)."""

    frame_size: int = 224
    """S: side of the clip's square frames in pixels, ≥ 1."""
    resize_short: int | None = None
    """Short side in pixels to which stored frames are resized before the centre crop; None for 256/224 of
    ``frame_size``, 0 for no resizing."""
    crop: Literal["multiscale", "none"] = "multiscale"
    """Training crop: ``multiscale`` crops one of several sizes at one of 13 fixed places, ``none`` crops as in
    evaluation."""
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    """Sides of the multi-scale crop as fractions of the short side, each in (0, 1], in decreasing order."""
    flip: bool = True
    """Whether half of the training clips are mirrored; disable it if left and right are meaningful."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UserError: a value is outside its range; the message names it.
        """
        short = self.short_side
        if self.frame_size < 1:
            raise UserError(f"frame_size is {self.frame_size}; expected at least 1 pixel")
        if 0 != short < self.frame_size:
            raise UserError(
                f"resize_short is {self.resize_short} and frame_size {self.frame_size}; expected "
                "resize_short to be 0 (no resizing), null (256/224 of frame_size) or at least frame_size"
            )
        if not self.scales or not all(0 < scale <= 1 for scale in self.scales):
            raise UserError(f"scales are {self.scales}; expected one or more fractions in (0, 1]")

    @property
    def short_side(self) -> int:
        """Short side in pixels before the centre crop; 0 for no resizing."""
        if self.resize_short is None:
            return round(256 / 224 * self.frame_size)
        return self.resize_short
