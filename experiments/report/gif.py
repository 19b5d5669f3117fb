"""Animated GIFs, which pages that play no films show: the README of a repository, for example."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from adafocus_rl.envs.render import Picture

DULL, VIVID = 96, 32
"""Colours of a file for pixels that are nearly grey, and for all others. Shared, thin outlines of few pixels would have
none of their own."""

SPREAD = 48
"""Difference between a pixel's largest and smallest channel above which it is not nearly grey."""


def save_gif(path: Path, pictures: Sequence[Picture], *, fps: int) -> None:
    """Write an animated GIF that repeats without end, and shows the last picture for a second longer.

    Args:
        path: the file to write; its suffix is ignored.
        pictures: T pictures (H, W, 3) uint8 of the same size.
        fps: pictures per second.
    """
    # One palette for all pictures: with one for each, colours flicker.
    palette = _palette(pictures)
    first, *others = [
        Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures
    ]
    lasting = [1000 // fps] * len(pictures)
    lasting[-1] += 1000
    first.save(path, format="gif", save_all=True, append_images=others, duration=lasting, loop=0, optimize=False)


def _palette(pictures: Sequence[Picture]) -> Image.Image:
    pixels = np.concatenate([picture.reshape(-1, 3) for picture in pictures])
    vivid = np.ptp(pixels, axis=1) > SPREAD
    colors: list[int] = []
    for some, count in ((pixels[~vivid], DULL), (pixels[vivid], VIVID)):
        if len(some):
            colors += (Image.fromarray(some[None]).quantize(count).getpalette() or [])[: 3 * count]
    palette = Image.new("P", (1, 1))
    palette.putpalette(colors)
    return palette
