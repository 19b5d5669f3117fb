"""Small pictures that move over larger frames: enlarged, scrambled in blocks, and placed along smooth paths."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Pixel = TypeVar("Pixel", bound=np.generic)


def enlarge(image: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Enlarge a square image to (side, side) bilinearly, with aligned pixel centres."""
    n = image.shape[0]
    centre = np.clip((np.arange(side) + 0.5) * n / side - 0.5, 0, n - 1)
    weights = np.maximum(0, 1 - np.abs(centre[:, None] - np.arange(n))).astype(np.float32)
    enlarged: NDArray[np.float32] = weights @ image @ weights.T
    return enlarged


def scramble(image: NDArray[Pixel], block: int, rng: np.random.Generator) -> NDArray[Pixel]:
    """Permute the blocks of side ``block`` of a square image at random; ``block`` divides its side."""
    side = len(image)
    n = side // block
    blocks = image.reshape(n, block, n, block).swapaxes(1, 2).reshape(n * n, block, block)
    shuffled = blocks[rng.permutation(n * n)]
    scrambled: NDArray[Pixel] = shuffled.reshape(n, n, block, block).swapaxes(1, 2).reshape(side, side)
    return scrambled


def path(
    frames: int,
    *,
    span: float | tuple[float, float],
    speed: tuple[float, float],
    turn: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return a path of constant speed and curvature, reflected at the ends of its range.

    Args:
        frames: T, the number of frames.
        span: largest top and left in pixels; two numbers where they differ.
        speed: range of the speed in pixels per frame.
        turn: largest change of direction in radians per frame.
        rng: source of the random choices.

    Returns:
        Tops and lefts (T, 2) in [0, span], in hundredths of a pixel.
    """
    ends = np.asarray(span, dtype=np.float64)
    heading = rng.uniform(0, 2 * np.pi) + rng.uniform(-turn, turn) * np.arange(frames)
    step = rng.uniform(*speed) * np.stack([np.sin(heading), np.cos(heading)], axis=1)
    free = rng.uniform(0, ends, size=2) + np.cumsum(step, axis=0)
    folded = ends - np.abs(free % (2 * ends) - ends)
    # Rounded to hundredths before painting, so that the boxes in the list are exact.
    return np.round(folded, 2)


Where = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Index of the pixels of a sprite in a canvas (T, S + 1, S + 1, …): frames, rows and columns."""


def place(
    sprite: NDArray[np.float32], origins: NDArray[np.float64], present: NDArray[np.int64]
) -> tuple[NDArray[np.float32], Where]:
    """Shift a sprite by the fractions of pixels of its origins.

    Args:
        sprite: (d, d) for all frames, or (M, d, d) with one image per frame ``present``.
        origins: top and left (T, 2) in pixels.
        present: (M,) numbers of the frames that show the sprite.

    Returns:
        The shifted sprites (M, d + 1, d + 1), and the index of their pixels in a canvas. The canvas has one row and one
        column more than the frame, because a sprite at a sub-pixel origin touches one pixel beyond its side.
    """
    d = sprite.shape[-1]
    corner = np.floor(origins[present]).astype(np.int64)
    down, right = (origins[present] - corner).astype(np.float32).T[:, :, None, None]
    padded = np.pad(sprite, [(0, 0)] * (sprite.ndim - 2) + [(1, 1)] * 2)
    shifted: NDArray[np.float32] = (1 - down) * (
        (1 - right) * padded[..., 1:, 1:] + right * padded[..., 1:, :-1]
    ) + down * ((1 - right) * padded[..., :-1, 1:] + right * padded[..., :-1, :-1])
    offsets = np.arange(d + 1)
    where = (
        present[:, None, None],
        corner[:, 0, None, None] + offsets[:, None],
        corner[:, 1, None, None] + offsets,
    )
    return shifted, where
