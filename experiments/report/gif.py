"""Animated GIFs, which pages that play no films show: the README of a repository, for example."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from adafocus_rl.envs.render import Picture

COLORS = 64
"""Colours of a file: enough for grey frames, outlines and text."""


def save_gif(path: Path, pictures: Sequence[Picture], *, fps: int) -> None:
    """Write an animated GIF that repeats without end, and shows the last picture for a second longer.

    Args:
        path: the file to write; its suffix is ignored.
        pictures: T pictures (H, W, 3) uint8 of the same size.
        fps: pictures per second.
    """
    # One palette for all pictures: with one for each, colours flicker.
    palette = Image.fromarray(np.concatenate(pictures)).quantize(COLORS)
    first, *others = [
        Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures
    ]
    lasting = [1000 // fps] * len(pictures)
    lasting[-1] += 1000
    first.save(path, format="gif", save_all=True, append_images=others, duration=lasting, loop=0, optimize=False)
