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

QUALITIES = (92, 85, 78, 70, 60, 50, 40, 30, 20)
"""WebP's, tried in this order."""

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
    strips, start = [], 0
    for clip in clips:
        # What the clip before needed is a good guess; one step better is tried, so that it does not only get worse.
        text, used = _encode(clip, share, max(0, start - 1))
        strips.append(text)
        start = used
    return strips


def _encode(clip: Tensor, share: int, start: int) -> tuple[str, int]:
    """The clip's picture in at most ``share`` characters if it can be had, and the place of the quality it took."""
    frames = clip.permute(0, 2, 3, 1).numpy()
    side = frames.shape[1]
    text = ""
    # A strip of many large frames has to be made of smaller ones.
    side = min(side, LARGEST_WEBP // len(frames))
    while True:
        picture = _strip(frames, side)
        for place in range(start, len(QUALITIES)):
            file = io.BytesIO()
            picture.save(file, "webp", quality=QUALITIES[place], method=2)
            text = "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
            if len(text) <= share:
                return text, place
        if side <= SMALLEST_SIDE:
            return text, len(QUALITIES) - 1
        side, start = max(SMALLEST_SIDE, side * 2 // 3), 3


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
