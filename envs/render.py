"""Pictures of decisions: a frame with the chosen box on it. Arrays in, arrays out; nothing is kept or shown."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from adafocus_rl.geometry import PatchGrid
from adafocus_rl.printable import printable

CHOSEN_COLOR = (255, 176, 0)
"""RGB of chosen boxes; it and the next differ for colour-blind eyes, too."""

TRUE_COLOR = (0, 158, 255)
"""RGB of true boxes."""

HEAT_COLOR = (204, 121, 167)
"""RGB of π's probabilities; a third one that can be told from the other two."""

HEAT_OPACITY = 0.75
"""Of the likeliest position; the others' are in proportion."""

SKIPPED_BRIGHTNESS = 0.4
"""Share of its brightness that a skipped frame keeps."""

FIRST_FOREIGN = 0x250
"""First character that Pillow's own font may not have: neither Greek nor Cyrillic nor Chinese."""

FOREIGN_FONTS = ("NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "DejaVuSans.ttf", "NotoSans-Regular.ttf", "arial.ttf")
"""Looked for on the system in this order; without any, foreign letters show as empty boxes."""

CAPTION = 300
"""Letters of a caption, at most."""

MIN_SIDE = 224
"""Shorter side of a drawn frame in pixels, at least."""

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB."""

Box = Sequence[float] | NDArray[np.floating] | NDArray[np.integer] | Tensor
"""(top, left, height, width) in pixels of the frame before it is enlarged; NaN or an empty box draws nothing."""


def draw_boxes(
    frame: Picture,
    *,
    box: Box | None = None,
    true_box: Box | None = None,
    kept: bool = True,
    path: Sequence[Box] = (),
    heat: NDArray[np.floating] | None = None,
    patch_size: int = 0,
    min_side: int = MIN_SIDE,
) -> Picture:
    """Outlines the true box (thin, blue) and the chosen one (orange, above it) on a frame.

    Args:
        frame: (H, W, 3) uint8 RGB; not changed.
        box: the chosen patch.
        true_box: where the object is.
        kept: whether f_L looked; a skipped frame is dimmed, and the outline of its patch thin.
        path: patches of the frames so far, whose centres are joined.
        heat: (A,) probabilities of the grid's positions.
        patch_size: P, with ``heat``.
        min_side: a smaller frame is enlarged by a whole factor, without blurring, to at least this shorter side.

    Returns:
        (H·s, W·s, 3) uint8 RGB.
    """
    scale = max(1, math.ceil(min_side / min(frame.shape[:2])))
    shown = frame if kept else (frame * SKIPPED_BRIGHTNESS).round().astype(np.uint8)
    image = Image.fromarray(shown.repeat(scale, axis=0).repeat(scale, axis=1))
    width = max(2, min(image.size) // 80)
    if heat is not None:
        _shade(image, heat, heat_cells(len(heat), frame_size=min(frame.shape[:2]), patch_size=patch_size), scale)
    pen = ImageDraw.Draw(image)
    _outline(pen, true_box, scale, TRUE_COLOR, 1)
    centers = [((left + w / 2) * scale, (top + h / 2) * scale) for top, left, h, w in (map(float, at) for at in path)]
    if len(centers) > 1:
        pen.line(centers, fill=CHOSEN_COLOR, width=max(1, width // 2))
    _outline(pen, box, scale, CHOSEN_COLOR, width if kept else 1)
    return np.array(image)


def heat_cells(num_actions: int, *, frame_size: int, patch_size: int) -> list[tuple[float, float, float, float]]:
    """Where to shade each grid position: cells (top, left, height, width) that touch, in the middles of the patches.

    Args:
        num_actions: A, a square number.
        frame_size: S.
        patch_size: P.
    """
    side = math.isqrt(num_actions)
    grid = PatchGrid(grid=side, frame_size=frame_size, patch_size=patch_size)
    # Not rounded to pixels as the patches are, so that neighbours neither overlap nor leave a gap.
    step = grid.last_offset / (side - 1) if side > 1 else float(patch_size)
    origins = (grid.position(torch.arange(num_actions)).double() * grid.last_offset).tolist()
    return [(row + (patch_size - step) / 2, col + (patch_size - step) / 2, step, step) for row, col in origins]


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font for this text: Pillow's own, the same everywhere, or the system's where that has not the letters.

    Args:
        text: what will be written.
        size: in pixels.
    """
    if any(ord(letter) >= FIRST_FOREIGN and letter not in "…–" for letter in text):
        for name in FOREIGN_FONTS:
            with contextlib.suppress(OSError):
                return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)


def draw_caption(picture: Picture, text: str) -> Picture:
    """Add a white bar below a picture, with one line of text as large as its width allows, of 11 to 28 pixels.

    Args:
        picture: (H, W, 3) uint8 RGB; not changed.
        text: the line; what does not fit is cut off.

    Returns:
        (H + bar, W, 3) uint8 RGB.
    """
    width = picture.shape[1]
    text = printable(text, CAPTION)
    size = min(28, max(11, width // 18))
    while size > 11 and font_for(text, size).getlength(text) > width - size:
        size -= 1
    bar = Image.new("RGB", (width, 2 * size), "white")
    ImageDraw.Draw(bar).text((size // 2, size // 2), text, fill="black", font=font_for(text, size))
    return np.concatenate((picture, np.array(bar)))


def draw_step(
    frame: Picture,
    *,
    step: int,
    num_frames: int,
    confidence: float | None = None,
    box: Box | None = None,
    true_box: Box | None = None,
    min_side: int = MIN_SIDE,
) -> Picture:
    """One decision: the frame, the boxes on it, and below it the step and the confidence.

    Args:
        frame: (H, W, 3) uint8 RGB.
        step: steps taken so far; 0 before the first.
        num_frames: T.
        confidence: probability of the true class after the step; None before the first.
        box: the chosen patch.
        true_box: where the object is.
        min_side: as in ``draw_boxes``.

    Returns:
        (H', W', 3) uint8 RGB; its size depends on the frame's alone.
    """
    text = f"step {step}/{num_frames}  p(true) " + ("–" if confidence is None else f"{confidence:.2f}")
    return draw_caption(draw_boxes(frame, box=box, true_box=true_box, min_side=min_side), text)


def map_pictures(maps: Tensor, side: int) -> Tensor:
    """Feature maps (T, C, h, w) as grey pictures (T, 3, side, side) uint8: mean over C, the clip's range."""
    mean = maps.detach().float().mean(1, keepdim=True).cpu()
    low, high = mean.min(), mean.max()
    grey = ((mean - low) / (high - low).clamp_min(1e-12) * 255).round()
    # Nearest, so that a cell is seen as a cell.
    return torch.nn.functional.interpolate(grey, size=(side, side)).to(torch.uint8).expand(-1, 3, -1, -1)


def _shade(
    image: Image.Image, heat: NDArray[np.floating], cells: Sequence[tuple[float, float, float, float]], scale: int
) -> None:
    """Lay colour over an image in place, the denser the likelier."""
    mask = Image.new("L", image.size)
    pen = ImageDraw.Draw(mask)
    most = float(heat.max()) or 1.0
    for share, (top, left, height, width) in zip(heat, cells, strict=True):
        # To whole pixels: what a cell ends at, the next begins at.
        x, y, right, bottom = (round(at * scale) for at in (left, top, left + width, top + height))
        corners = (x, y, max(x, right - 1), max(y, bottom - 1))
        pen.rectangle(corners, fill=round(255 * HEAT_OPACITY * float(share) / most))
    image.paste(Image.new("RGB", image.size, HEAT_COLOR), mask=mask)


def _outline(pen: ImageDraw.ImageDraw, box: Box | None, scale: int, color: tuple[int, int, int], width: int) -> None:
    if box is None:
        return
    top, left, height, width_ = (float(value) * scale for value in box)
    # Comparing with NaN is false, so an absent box is not drawn either.
    if height > 0 and width_ > 0:
        pen.rectangle((left, top, left + width_ - 1, top + height - 1), outline=color, width=width)
