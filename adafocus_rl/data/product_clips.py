"""Clips of moving products: their configuration, and the rendering of frames."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.data.fashion_mnist import CELLS, Products
from adafocus_rl.data.sprites import enlarge, path, place, scramble
from adafocus_rl.options import MOST, require, require_range
from adafocus_rl.seeding import derive_seed

INK = 24
"""Least brightness of a pixel that belongs to a product, of 255; enclosed darker ones belong to it, too."""


@dataclass(frozen=True, kw_only=True)
class MovingProductsConfig:
    """Options of the clips. Lengths are in pixels, brightness is a fraction of full scale, time is in frames."""

    source: str | None = None
    """Folder with the four files of Fashion-MNIST; null is ``/usr/share/datasets/fashion-mnist``, where Debian's
    package ``dataset-fashion-mnist`` has them."""
    photographs: str | None = None
    """Folder of photographs (.jpg, .png) for the backgrounds; null takes those in scikit-image and scikit-learn."""
    seed: int = 0
    """Seed of everything random."""
    train_videos: int = 3000
    """Clips in the training list, at least 1."""
    val_videos: int = 2000
    """Clips in the validation list, at least 1."""
    still_videos: int = 1200
    """Clips in the list of stills, each of one class with another product in every frame; 0 writes no such list."""
    still_side: int = 96
    """Side of the square frames of stills, that of a patch; even."""
    still_distractors: int = 1
    """Scrambled products in a still: about as many as in a patch of a clip, so that encoders learn to ignore them."""
    frames: int = 8
    """Frames per clip, at least 2."""
    side: int = 224
    """Side of the square frame; even."""
    product: tuple[int, int] = (40, 64)
    """Range of the side of a product and of a distractor, each drawn per clip; 28 to below ``side``."""
    distractors: int = 5
    """Scrambled products per clip, present in all frames; 0 disables them."""
    scramble_block: int = 7
    """Side of the blocks of the 28×28 image that are permuted in a distractor: 2, 4, 7 or 14."""
    presence: tuple[float, float] = (0.5, 0.9)
    """Range of the share of the clip's frames that show the product, in (0, 1]."""
    speed: tuple[float, float] = (2.0, 10.0)
    """Range of the speed of a product or distractor, in pixels per frame."""
    pan: tuple[float, float] = (2.0, 10.0)
    """Range of the speed of the background, in pixels per frame."""
    turn: float = 0.2
    """Largest change of direction, radians per frame; a path has constant curvature and is reflected at the edges."""
    tint: float = 0.5
    """Largest share of a colour channel that a product's or distractor's colour lacks, in [0, 1]; 0 keeps them grey."""
    light: tuple[float, float] = (0.6, 1.0)
    """Range of the factor of the background's brightness, drawn per clip."""
    noise: float = 4 / 255
    """Standard deviation of the sensor noise, per pixel, channel and frame; 0 disables it."""
    fps: int = 8
    """Frames per second written into the files."""
    crf: int = 20
    """x264's constant rate factor, 0 to 51: smaller keeps more and makes larger files."""

    def __post_init__(self) -> None:
        require_range(self, "train_videos", "val_videos", least=1, most=MOST)
        require_range(self, "frames", least=2, most=10_000)
        require(
            self, "side", self.side % 2 == 0 and CELLS < self.side <= 4096, f"an even number above {CELLS}, up to 4096"
        )
        require_range(self, "still_videos", least=0, most=MOST)
        low, high = self.product
        require(self, "product", CELLS <= low <= high < self.side, f"{CELLS} ≤ low ≤ high < side = {self.side}")
        valid = self.still_side % 2 == 0 and high < self.still_side <= self.side
        require(
            self, "still_side", valid, f"an even number above {high}, the largest product, up to side = {self.side}"
        )
        require_range(self, "distractors", "still_distractors", least=0, most=1000)
        require(self, "scramble_block", self.scramble_block in (2, 4, 7, 14), "2, 4, 7 or 14")
        require(self, "presence", 0 < self.presence[0] <= self.presence[1] <= 1, "0 < low ≤ high ≤ 1")
        for name in ("speed", "pan", "light"):
            low_value, high_value = getattr(self, name)
            require(self, name, 0 <= low_value <= high_value <= 4096, "0 ≤ low ≤ high")
        require_range(self, "turn", least=0)
        require_range(self, "tint", "noise", least=0, most=1)
        require_range(self, "fps", least=1, most=1000)
        require_range(self, "crf", least=0, most=51)


def render_product_clip(
    config: MovingProductsConfig,
    products: Products,
    backgrounds: tuple[NDArray[np.uint8], ...],
    label: int,
    split: str,
    number: int,
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Render one clip, as a function of the arguments only.

    Args:
        config: options of the clips.
        products: products of the clip's split.
        backgrounds: photographs (H, W, 3), larger than the frame.
        label: class of the product shown.
        split: name of the split; each split has its own random streams.
        number: number of the clip in its split.

    Returns:
        RGB frames (T, S, S, 3) uint8, and true boxes (T, 4) of [top, left, height, width] in pixels, NaN where the
        product is absent. A box encloses the product's pixels.
    """
    rng = np.random.default_rng(derive_seed(config.seed, "moving_products", split, number))
    t, side = config.frames, config.side
    # One row and column more than the frame; see ``place``.
    canvas = np.zeros((t, side + 1, side + 1, 3), dtype=np.float32)
    canvas[:, :side, :side] = _pan(config, backgrounds, rng)

    everywhere = np.arange(t)
    for image in products.images[rng.integers(len(products.images), size=config.distractors)]:
        sprite, _ = _sprite(config, image, rng, pieces=True)
        _paint(canvas, sprite, _drift(config, sprite, rng), everywhere)

    sample = products.images[rng.choice(np.flatnonzero(products.labels == label))]
    sprite, inner = _sprite(config, sample, rng, pieces=False)
    origins = _drift(config, sprite, rng)
    length = int(np.clip(round(rng.uniform(*config.presence) * t), 1, t))
    present = int(rng.integers(t - length, endpoint=True)) + np.arange(length)
    # Painted last, so that the product covers distractors where their paths cross.
    _paint(canvas, sprite, origins, present)

    frames = canvas[:, :side, :side]
    frames += np.float32(config.noise) * rng.standard_normal(frames.shape, dtype=np.float32)
    boxes = np.full((t, 4), np.nan)
    boxes[present] = inner
    boxes[present, :2] += origins[present]
    return np.rint(np.clip(frames, 0, 1) * 255).astype(np.uint8), np.round(boxes, 2)


def render_product_stills(
    config: MovingProductsConfig,
    products: Products,
    backgrounds: tuple[NDArray[np.uint8], ...],
    label: int,
    number: int,
) -> NDArray[np.uint8]:
    """Render frames (T, still_side, still_side, 3) uint8 of one class, each with another product and background.

    Encoders that see them first need few passes over clips, in most of whose pixels there is nothing to learn.
    """
    still = dataclasses.replace(
        config, side=config.still_side, distractors=config.still_distractors, presence=(1.0, 1.0), frames=2
    )
    numbers = range(number * config.frames, (number + 1) * config.frames)
    clips = [render_product_clip(still, products, backgrounds, label, "stills", frame)[0] for frame in numbers]
    return np.stack([frames[0] for frames in clips])


def outline(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which pixels (28, 28) of an image belong to its product: the bright ones, and what they enclose."""
    from scipy.ndimage import binary_fill_holes  # slow to import

    filled: NDArray[np.bool_] = binary_fill_holes(image >= INK)
    return filled


def _sprite(
    config: MovingProductsConfig, image: NDArray[np.uint8], rng: np.random.Generator, *, pieces: bool
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return colours times opacity and opacity (4, d, d) of an image, and the box [top, left, height, width] in it."""
    mask = outline(image)
    brightness: NDArray[np.float32] = image.astype(np.float32) / np.float32(255)
    if pieces:
        order = scramble(np.arange(CELLS * CELLS).reshape(CELLS, CELLS), config.scramble_block, rng)
        mask, brightness = mask.ravel()[order], brightness.ravel()[order]
    size = int(rng.integers(*config.product, endpoint=True))
    # Half opaque at the outline's edge would be half a cell too wide.
    opacity = np.clip(2 * enlarge(mask.astype(np.float32), size) - 1, 0, 1)
    colour = 1 - config.tint * rng.uniform(size=3).astype(np.float32)
    sprite = np.concatenate([colour[:, None, None] * (enlarge(brightness, size) * opacity), opacity[None]])
    rows, columns = np.flatnonzero(opacity.any(axis=1)), np.flatnonzero(opacity.any(axis=0))
    if not len(rows):  # an image without a product; Fashion-MNIST has none
        rows = columns = np.array([0, size - 1])
    ends = np.array([rows[0], columns[0], rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]], dtype=np.float64)
    return sprite, ends


def _drift(config: MovingProductsConfig, sprite: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float64]:
    span = config.side - sprite.shape[-1]
    return path(config.frames, span=span, speed=config.speed, turn=config.turn, rng=rng)


def _paint(
    canvas: NDArray[np.float32],
    sprite: NDArray[np.float32],
    origins: NDArray[np.float64],
    present: NDArray[np.int64],
) -> None:
    """Blend a sprite of ``_sprite``, at sub-pixel origins, into the frames ``present`` of (T, S + 1, S + 1, 3)."""
    planes = [place(plane, origins, present) for plane in sprite]
    shifted, where = np.stack([plane for plane, _ in planes], axis=-1), planes[0][1]
    canvas[where] += shifted[..., :3] - shifted[..., 3:] * canvas[where]


def _pan(
    config: MovingProductsConfig, backgrounds: tuple[NDArray[np.uint8], ...], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return windows (T, S, S, 3) of one photograph, mirrored half of the time, that move by whole pixels."""
    photograph = backgrounds[int(rng.integers(len(backgrounds)))]
    if rng.integers(2):
        photograph = photograph[:, ::-1]
    side = config.side
    span = (photograph.shape[0] - side, photograph.shape[1] - side)
    corners = np.rint(path(config.frames, span=span, speed=config.pan, turn=config.turn, rng=rng)).astype(np.int64)
    windows = np.stack([photograph[top : top + side, left : left + side] for top, left in corners])
    lit: NDArray[np.float32] = windows.astype(np.float32) * np.float32(rng.uniform(*config.light) / 255)
    return lit
