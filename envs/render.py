"""Pictures of decisions: a frame with the box of the selected patch. All functions map arrays to arrays."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from adafocus_rl.geometry import PatchGrid
from adafocus_rl.printable import printable

CHOSEN_COLOR = (255, 176, 0)
"""RGB of boxes of selected patches; colour-blind readers can tell it from ``TRUE_COLOR``."""

TRUE_COLOR = (0, 158, 255)
"""RGB of true boxes."""

HEAT_COLOR = (204, 121, 167)
"""RGB of π's probabilities; distinct from the other two colours."""

HEAT_OPACITY = 0.75
"""Opacity of the most probable position; the others are proportional to their probabilities."""

SKIPPED_BRIGHTNESS = 0.4
"""Factor by which a skipped frame is dimmed."""

CROP_COLOR = (200, 200, 200)
"""RGB of the outline of the part that the networks process."""

OUTSIDE_BRIGHTNESS = 0.6
"""Factor by which the part of a frame that the networks do not process is dimmed."""

FIRST_FOREIGN = 0x250
"""First character that Pillow's own font may lack; it has no Greek, Cyrillic or Chinese letters."""

FOREIGN_FONTS = ("NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "DejaVuSans.ttf", "NotoSans-Regular.ttf", "arial.ttf")
"""System fonts, tried in this order; if none is installed, such letters are drawn as empty boxes."""

CAPTION = 300
"""Largest length of a caption, in characters."""

MIN_SIDE = 224
"""Smallest length of a drawn frame's shorter side, in pixels."""

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB."""

Box = Sequence[float] | NDArray[np.floating] | NDArray[np.integer] | Tensor
"""(top, left, height, width) in pixels of the frame before it is enlarged; NaN and empty boxes are not drawn."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """The part of a stored frame that the networks process, resized to S×S pixels."""

    box: tuple[float, float, float, float]
    """(top, left, height, width) in pixels of the stored frame."""
    side: int
    """S."""

    def stored(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Map a box in the S×S pixels to the stored frame; both are (top, left, height, width)."""
        rows, columns = (length / self.side for length in self.box[2:])
        top, left, height, width = box
        return self.box[0] + top * rows, self.box[1] + left * columns, height * rows, width * columns


def draw_boxes(
    frame: Picture,
    *,
    box: Box | None = None,
    true_box: Box | None = None,
    kept: bool = True,
    path: Sequence[Box] = (),
    heat: NDArray[np.floating] | None = None,
    patch_size: int = 0,
    patch_scales: Sequence[float] = (1.0,),
    crop: Crop | None = None,
    min_side: int = MIN_SIDE,
) -> Picture:
    """Outline the true box (thin, blue) and the selected patch (orange, on top) on a frame.

    Args:
        frame: (H, W, 3) uint8 RGB; not modified.
        box: box of the selected patch; None draws none.
        true_box: true box of the object; None draws none.
        kept: whether f_L was run; a skipped frame is dimmed and its patch is outlined thinly.
        path: boxes of the patches so far; an arrow leads along their centres.
        heat: (A,) probabilities of the grid's positions, drawn as shading; None draws none.
        patch_size: P; needed with ``heat``.
        patch_scales: the patches' scales.
        crop: the part of the frame in which the patches are selected; the rest is dimmed, and the grid of ``heat`` lies
            in it. None means the whole frame.
        min_side: a smaller frame is enlarged by an integer factor s, without interpolation, to at least this shorter
            side.

    Returns:
        (H·s, W·s, 3) uint8 RGB.
    """
    scale = max(1, math.ceil(min_side / min(frame.shape[:2])))
    shown = frame if crop is None else _dim_outside(frame, crop)
    shown = shown if kept else (shown * SKIPPED_BRIGHTNESS).round().astype(np.uint8)
    image = Image.fromarray(shown.repeat(scale, axis=0).repeat(scale, axis=1))
    width = max(2, min(image.size) // 80)
    if heat is not None:
        side = min(frame.shape[:2]) if crop is None else crop.side
        cells = heat_cells(len(heat), frame_size=side, patch_size=patch_size, scales=patch_scales)
        cells = cells if crop is None else [crop.stored(cell) for cell in cells]
        _shade(image, heat, cells, scale, layers=len(patch_scales))
    pen = ImageDraw.Draw(image)
    _outline(pen, true_box, scale, TRUE_COLOR, 1)
    if crop is not None:
        _outline(pen, crop.box, scale, CROP_COLOR, 1)
    centers = [((left + w / 2) * scale, (top + h / 2) * scale) for top, left, h, w in (map(float, at) for at in path)]
    if len(centers) > 1:
        pen.line(centers, fill=CHOSEN_COLOR, width=max(1, width // 2))
        _arrow_head(pen, centers, length=4 * width)
    _outline(pen, box, scale, CHOSEN_COLOR, width if kept else 1)
    return np.array(image)


def heat_cells(
    num_actions: int, *, frame_size: int, patch_size: int, scales: Sequence[float] = (1.0,)
) -> list[tuple[float, float, float, float]]:
    """Return the cell (top, left, height, width) to shade for each position: adjacent, centred on the patches.

    Args:
        num_actions: A, a square number for each scale.
        frame_size: S.
        patch_size: P.
        scales: the patches' scales; the cells of one scale overlap those of the others.
    """
    side = math.isqrt(num_actions // len(scales))
    grids = PatchGrid(grid=side, frame_size=frame_size, patch_size=patch_size, scales=scales)
    cells = []
    for grid in grids.each:
        # Unlike patches, cells are not rounded to pixels, so that neighbours neither overlap nor leave a gap.
        step = grid.last_offset / (side - 1) if side > 1 else float(grid.side)
        origins = grid.position(torch.arange(grid.num_actions)).double() * grid.last_offset + (grid.side - step) / 2
        cells += [(row, col, step, step) for row, col in origins.tolist()]
    return cells


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return a font for a text: Pillow's own, the same on every system, or a system font if that lacks the letters.

    Args:
        text: the text to draw.
        size: size of the font in pixels.
    """
    if any(ord(letter) >= FIRST_FOREIGN and letter not in "…–" for letter in text):
        for name in FOREIGN_FONTS:
            with contextlib.suppress(OSError):
                return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)


def draw_caption(picture: Picture, text: str, *, color: str | tuple[int, int, int] = "black") -> Picture:
    """Add a white bar with one line of text below a picture; the font has 11 to 28 pixels, as the width allows.

    Args:
        picture: (H, W, 3) uint8 RGB; not modified.
        text: the line; text that does not fit is cut off.
        color: colour of the text.

    Returns:
        (H + bar, W, 3) uint8 RGB.
    """
    width = picture.shape[1]
    text = printable(text, CAPTION)
    size = min(28, max(11, width // 18))
    while size > 11 and font_for(text, size).getlength(text) > width - size:
        size -= 1
    bar = Image.new("RGB", (width, 2 * size), "white")
    ImageDraw.Draw(bar).text((size // 2, size // 2), text, fill=color, font=font_for(text, size))
    return np.concatenate((picture, np.array(bar)))


def draw_step(
    frame: Picture,
    *,
    step: int,
    num_steps: int,
    confidence: float | None = None,
    box: Box | None = None,
    true_box: Box | None = None,
    min_side: int = MIN_SIDE,
) -> Picture:
    """Draw one decision: the frame with its boxes, and a caption with the step and the confidence.

    Args:
        frame: (H, W, 3) uint8 RGB.
        step: number of steps taken; 0 before the first.
        num_steps: number of steps of an episode.
        confidence: probability of the true class after the step; None before the first.
        box: see ``draw_boxes``.
        true_box: see ``draw_boxes``.
        min_side: see ``draw_boxes``.

    Returns:
        (H', W', 3) uint8 RGB; the size depends only on the frame's size and ``min_side``.
    """
    text = f"step {step}/{num_steps}  p(true) " + ("–" if confidence is None else f"{confidence:.2f}")
    return draw_caption(draw_boxes(frame, box=box, true_box=true_box, min_side=min_side), text)


def map_pictures(maps: Tensor, side: int) -> Tensor:
    """Convert maps (T, C, h, w) to grey pictures (T, 3, side, side) uint8: mean over C, scaled to the clip's range."""
    mean = maps.detach().float().mean(1, keepdim=True).cpu()
    low, high = mean.min(), mean.max()
    grey = ((mean - low) / (high - low).clamp_min(1e-12) * 255).round()
    # Nearest-neighbour interpolation, so that each cell is visible.
    return torch.nn.functional.interpolate(grey, size=(side, side)).to(torch.uint8).expand(-1, 3, -1, -1)


def _dim_outside(frame: Picture, crop: Crop) -> Picture:
    """Return a frame that is dimmed outside of a crop."""
    top, left, height, width = crop.box
    inside = np.s_[max(0, round(top)) : round(top + height), max(0, round(left)) : round(left + width)]
    dimmed: Picture = (frame * OUTSIDE_BRIGHTNESS).round().astype(np.uint8)
    dimmed[inside] = frame[inside]
    return dimmed


def _shade(
    image: Image.Image,
    heat: NDArray[np.floating],
    cells: Sequence[tuple[float, float, float, float]],
    scale: int,
    *,
    layers: int,
) -> None:
    """Shade cells of an image in place, with an opacity proportional to their probabilities, layer on layer."""
    most = float(heat.max()) or 1.0
    count = len(cells) // layers
    for first in range(0, len(cells), count):
        mask = Image.new("L", image.size)
        pen = ImageDraw.Draw(mask)
        for share, (top, left, height, width) in zip(heat[first:], cells[first : first + count], strict=False):
            # Edges are rounded to whole pixels, so that each cell begins where the one before ends.
            x, y, right, bottom = (round(at * scale) for at in (left, top, left + width, top + height))
            corners = (x, y, max(x, right - 1), max(y, bottom - 1))
            pen.rectangle(corners, fill=round(255 * HEAT_OPACITY * float(share) / most))
        image.paste(Image.new("RGB", image.size, HEAT_COLOR), mask=mask)


def _arrow_head(pen: ImageDraw.ImageDraw, centers: Sequence[tuple[float, float]], *, length: float) -> None:
    """Draw an arrow head at the end of a path that moved."""
    x, y = centers[-1]
    moved = [(x - left, y - top) for left, top in centers if math.hypot(x - left, y - top) >= length]
    if moved:
        right, down = (step / math.hypot(*moved[-1]) for step in moved[-1])
        back, aside = (x - length * right, y - length * down), (length / 2 * down, -length / 2 * right)
        corners = [(back[0] + sign * aside[0], back[1] + sign * aside[1]) for sign in (1, -1)]
        pen.polygon([(x, y), *corners], fill=CHOSEN_COLOR)


def _outline(pen: ImageDraw.ImageDraw, box: Box | None, scale: int, color: tuple[int, int, int], width: int) -> None:
    if box is None:
        return
    top, left, height, width_ = (float(value) * scale for value in box)
    # Comparisons with NaN are false, so an absent box is not drawn either.
    if height > 0 and width_ > 0:
        pen.rectangle((left, top, left + width_ - 1, top + height - 1), outline=color, width=width)
