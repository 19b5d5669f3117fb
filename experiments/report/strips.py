"""Encoding of a clip's frames as one small picture, for self-contained pages."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

BUDGET = 11_000_000
"""Maximum number of characters of all frames in a page; the rest of a page of 50 videos takes less than 2 MB."""

RUNGS = (
    *((1.0, quality) for quality in (92, 85, 78, 70, 60, 50, 40, 30)),
    *((scale, quality) for scale in (0.7, 0.5, 0.35) for quality in (65, 50, 35)),
)
"""(scale, WebP quality), best first."""

SMALLEST_SIDE = 64
"""Side in pixels below which frames are not scaled down, unless the strip would exceed ``LARGEST_WEBP``."""

LARGEST_WEBP = 16_383
"""Maximum length of a side of a WebP picture, in pixels."""


def encode_strips(clips: Sequence[Tensor], *, budget: int = BUDGET) -> list[str]:
    """Return each clip as a ``data:`` URL of one WebP picture, with the frames from left to right.

    Quality, then size, is reduced until each clip fits in its share of the budget.

    Args:
        clips: clips of shape (T, 3, S, S), uint8.
        budget: maximum number of characters of all clips together.
    """
    share = budget // max(1, len(clips))
    strips, rung = [], 0
    for clip in clips:
        # Start one rung better than the previous clip needed: a good guess, which also lets the quality rise again.
        rung = max(0, rung - 1)
        text = _encode(clip, *RUNGS[rung])
        while len(text) > share and rung < len(RUNGS) - 1:
            rung += 1
            text = _encode(clip, *RUNGS[rung])
        strips.append(text)
    return strips


def _encode(clip: Tensor, scale: float, quality: int) -> str:
    """Return the clip's picture as a ``data:`` URL."""
    frames = clip.permute(0, 2, 3, 1).numpy()
    own = frames.shape[1]
    # WebP's maximum size may require smaller frames if there are many.
    side = min(max(min(own, SMALLEST_SIDE), round(own * scale)), LARGEST_WEBP // len(frames))
    file = io.BytesIO()
    _strip(frames, side).save(file, "webp", quality=quality, method=2)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def _strip(frames: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], side: int) -> Image.Image:
    """Return a picture of frames (T, S, S, 3) side by side."""
    count, own = frames.shape[:2]
    picture = Image.fromarray(np.ascontiguousarray(frames.transpose(1, 0, 2, 3).reshape(own, count * own, 3)))
    if side == own:
        return picture
    # Resize each frame separately, so that neighbouring frames do not bleed into each other.
    small = Image.new("RGB", (count * side, side))
    for number in range(count):
        frame = picture.crop((number * own, 0, (number + 1) * own, own)).resize((side, side), Image.Resampling.LANCZOS)
        small.paste(frame, (number * side, 0))
    return small
