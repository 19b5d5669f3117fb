"""The frames of a clip as one small picture, for a page that holds everything itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

BUDGET = 11_000_000
"""Characters of a page that all its frames may take together; the rest of a page of 50 videos takes less than 2 MB."""

RUNGS = (
    *((1.0, quality) for quality in (92, 85, 78, 70, 60, 50, 40, 30)),
    *((scale, quality) for scale in (0.7, 0.5, 0.35) for quality in (65, 50, 35)),
)
"""(scale, WebP's quality), the best first."""

SMALLEST_SIDE = 64
"""Frames are not made smaller than that, in pixels."""

LARGEST_WEBP = 16_383
"""Pixels of a WebP picture's longer side."""


def encode_strips(clips: Sequence[Tensor], *, budget: int = BUDGET) -> list[str]:
    """Each clip as a ``data:`` address of one WebP picture, its frames from left to right.

    Quality, and then size, go down until all of them fit in the budget together.

    Args:
        clips: (T, 3, S, S) uint8 each.
        budget: characters for all.
    """
    share = budget // max(1, len(clips))
    strips, rung = [], 0
    for clip in clips:
        # What the clip before needed is a good guess. One rung better is tried, so that it does not only get worse.
        rung = max(0, rung - 1)
        text = _encode(clip, *RUNGS[rung])
        while len(text) > share and rung < len(RUNGS) - 1:
            rung += 1
            text = _encode(clip, *RUNGS[rung])
        strips.append(text)
    return strips


def _encode(clip: Tensor, scale: float, quality: int) -> str:
    """The clip's picture."""
    frames = clip.permute(0, 2, 3, 1).numpy()
    own = frames.shape[1]
    # A strip of many large frames has to be made of smaller ones, too.
    side = min(max(min(own, SMALLEST_SIDE), round(own * scale)), LARGEST_WEBP // len(frames))
    file = io.BytesIO()
    _strip(frames, side).save(file, "webp", quality=quality, method=2)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def _strip(frames: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], side: int) -> Image.Image:
    """Frames (T, S, S, 3) side by side."""
    count, own = frames.shape[:2]
    picture = Image.fromarray(np.ascontiguousarray(frames.transpose(1, 0, 2, 3).reshape(own, count * own, 3)))
    # Frame by frame, or neighbours would bleed into each other.
    if side == own:
        return picture
    small = Image.new("RGB", (count * side, side))
    for number in range(count):
        frame = picture.crop((number * own, 0, (number + 1) * own, own)).resize((side, side), Image.Resampling.LANCZOS)
        small.paste(frame, (number * side, 0))
    return small
