"""Clips of moving digits: their configuration, the handwriting samples, and the rendering of frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.data.clip_files import even_labels
from adafocus_rl.data.sprites import enlarge, path, place, scramble
from adafocus_rl.errors import UserError
from adafocus_rl.seeding import derive_seed

CELLS = 8  # side of scikit-learn's digits


@dataclass(frozen=True, kw_only=True)
class MovingDigitsConfig:
    """Options of the clips. Lengths are in pixels, brightness is a fraction of full scale, time is in frames."""

    dataset: ClassVar[str] = "moving_digits"

    seed: int = 0
    """Seed of everything random."""
    train_videos: int = 1200
    """Clips in the training list, ≥ 1."""
    val_videos: int = 300
    """Clips in the validation list, ≥ 1."""
    still_videos: int = 400
    """Clips in the list of stills, each of one class with a different handwriting sample in every frame; 0 writes no
    such list."""
    still_side: int = 32
    """Side of the square frames of stills, which show one digit and no distractor; even."""
    frames: int = 16
    """Frames per clip, ≥ 2."""
    side: int = 64
    """Side of the square frame; even."""
    digit: int = 16
    """Side of a digit and of a distractor, 8 to ``side`` − 1."""
    distractors: int = 4
    """Scrambled digits per clip, present in all frames; 0 disables them."""
    scramble_block: int = 2
    """Side of the blocks of the 8×8 digit that are permuted in a distractor: 1, 2 or 4."""
    noise: float = 16 / 255
    """Standard deviation of the sensor noise, per pixel and frame; 0 disables it."""
    presence: tuple[float, float] = (0.6, 0.9)
    """Range of the share of the clip's frames that show the digit, in (0, 1]."""
    speed: tuple[float, float] = (0.8, 2.5)
    """Range of the speed of a digit or distractor, in pixels per frame."""
    turn: float = 0.12
    """Largest change of direction, radians per frame; a path has constant curvature and is reflected at the frame's
    edges."""
    ink: tuple[float, float] = (0.6, 0.95)
    """Range of the brightness of a digit's ink, drawn per clip."""
    distractor_ink: tuple[float, float] = (0.35, 0.6)
    """Range of the brightness of a distractor's ink."""
    background: tuple[float, float] = (0.1, 0.3)
    """Range of the background's mean brightness, drawn per clip."""
    contrast: float = 0.06
    """Half range of the background's smooth variation."""
    val_share: float = 0.3
    """Share of the handwriting samples of each class that is reserved for validation, in (0, 1)."""
    fps: int = 12
    """Frames per second written into the files."""
    crf: int = 18
    """x264's constant rate factor, 0 to 51: smaller keeps more and makes larger files."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UserError: a value is outside its range; the message names it.
        """
        rules = {
            "train_videos": (self.train_videos >= 1, "at least 1"),
            "val_videos": (self.val_videos >= 1, "at least 1"),
            "still_videos": (self.still_videos >= 0, "0 or more"),
            "frames": (self.frames >= 2, "at least 2"),
            "side": (self.side % 2 == 0 and self.side > 8, "an even number above 8"),
            "digit": (CELLS <= self.digit < self.side, f"{CELLS} to side − 1 = {self.side - 1}"),
            "still_side": (self.still_side % 2 == 0 and self.still_side > self.digit, "an even number above digit"),
            "distractors": (self.distractors >= 0, "0 or more"),
            "scramble_block": (self.scramble_block in (1, 2, 4), "1, 2 or 4"),
            "noise": (self.noise >= 0, "0 or more"),
            "presence": (0 < self.presence[0] <= self.presence[1] <= 1, "0 < low ≤ high ≤ 1"),
            "speed": (0 <= self.speed[0] <= self.speed[1], "0 ≤ low ≤ high"),
            "turn": (self.turn >= 0, "0 or more"),
            "ink": (0 <= self.ink[0] <= self.ink[1] <= 1, "0 ≤ low ≤ high ≤ 1"),
            "distractor_ink": (0 <= self.distractor_ink[0] <= self.distractor_ink[1] <= 1, "0 ≤ low ≤ high ≤ 1"),
            "background": (0 <= self.background[0] <= self.background[1] <= 1, "0 ≤ low ≤ high ≤ 1"),
            "contrast": (self.contrast >= 0, "0 or more"),
            "val_share": (0.02 <= self.val_share <= 0.98, "0.02 to 0.98"),
            "fps": (self.fps >= 1, "at least 1"),
            "crf": (0 <= self.crf <= 51, "0 to 51"),
        }
        self._require(rules)

    def _require(self, rules: Mapping[str, tuple[bool, str]]) -> None:
        """Raise a UserError that names the first option whose rule, (holds, expected), does not hold."""
        for name, (holds, expected) in rules.items():
            if not holds:
                raise UserError(f"{self.dataset} got {name}={getattr(self, name)!r}; expected {expected}: change it")


@dataclass(frozen=True, kw_only=True)
class Handwriting:
    """The handwriting samples of one split."""

    images: NDArray[np.float32]
    """(M, 8, 8) ink in [0, 1]."""
    digits: NDArray[np.int64]
    """(M,) digit shown in each image."""


def split_handwriting(config: MovingDigitsConfig) -> dict[str, Handwriting]:
    """Split the samples into disjoint {"train": …, "val": …}, with the same share of each class."""
    return _split_handwriting(config.seed, config.val_share)


def plan_labels(config: MovingDigitsConfig, split: str, count: int) -> NDArray[np.int64]:
    """Class of each clip, (count,): as balanced as possible, in random order."""
    return even_labels(count, 10, seed=derive_seed(config.seed, split, "labels"))


def render_clip(
    config: MovingDigitsConfig, handwriting: Handwriting, label: int, split: str, number: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Render one clip, as a function of the arguments only.

    Args:
        config: options of the clips.
        handwriting: samples of the clip's split, from ``split_handwriting``.
        label: the digit shown.
        split: name of the split; each split has its own random streams.
        number: number of the clip in its split.

    Returns:
        Grey frames (T, S, S) uint8, and true boxes (T, 4) of [top, left, height, width] in pixels, NaN where the digit
        is absent.
    """
    rng = np.random.default_rng(derive_seed(config.seed, split, number))
    t, side = config.frames, config.side
    # One row and column more than the frame: a sprite at a sub-pixel position touches one pixel beyond its side.
    canvas = np.zeros((t, side + 1, side + 1), dtype=np.float32)
    canvas[:, :side, :side] = background(config, side, rng)

    others = handwriting.images[rng.integers(len(handwriting.images), size=config.distractors)]
    for image in others:
        sprite = enlarge(scramble(image, config.scramble_block, rng), config.digit)
        origins = path(t, span=side - config.digit, speed=config.speed, turn=config.turn, rng=rng)
        paint(canvas, sprite, origins, rng.uniform(*config.distractor_ink), np.arange(t))

    sample = handwriting.images[rng.choice(np.flatnonzero(handwriting.digits == label))]
    origins = path(t, span=side - config.digit, speed=config.speed, turn=config.turn, rng=rng)
    length = int(np.clip(round(rng.uniform(*config.presence) * t), 1, t))
    start = int(rng.integers(t - length + 1))
    present = np.arange(start, start + length)
    # Painted last, so that the digit covers distractors where their paths cross.
    paint(canvas, enlarge(sample, config.digit), origins, rng.uniform(*config.ink), present)

    frames = canvas[:, :side, :side]
    frames += np.float32(config.noise) * rng.standard_normal(frames.shape, dtype=np.float32)
    boxes = np.full((t, 4), np.nan)
    boxes[present, :2] = origins[present]
    boxes[present, 2:] = config.digit
    return np.rint(np.clip(frames, 0, 1) * 255).astype(np.uint8), boxes


def render_stills(config: MovingDigitsConfig, handwriting: Handwriting, label: int, number: int) -> NDArray[np.uint8]:
    """Render frames (T, still_side, still_side) uint8 of one class, each with another sample and background.

    Stills replace ImageNet pre-training: they are close-ups on which encoders learn shapes before they see videos.
    """
    still = replace(config, side=config.still_side, distractors=0, presence=(1.0, 1.0), frames=2)
    return close_ups(render_clip, still, handwriting, label, number, count=config.frames)


def close_ups(
    clip: Callable[..., tuple[NDArray[np.uint8], NDArray[np.float64]]],
    still: MovingDigitsConfig,
    handwriting: Handwriting,
    label: int,
    number: int,
    *,
    count: int,
) -> NDArray[np.uint8]:
    """Render the first frames (count, S, S) of as many clips of the configuration ``still``."""
    numbers = range(number * count, (number + 1) * count)
    return np.stack([clip(still, handwriting, label, "stills", frame)[0][0] for frame in numbers])


@lru_cache(maxsize=4)
def _split_handwriting(seed: int, val_share: float) -> dict[str, Handwriting]:
    from sklearn.datasets import load_digits  # slow to import

    data = load_digits()
    images = (data.images / 16.0).astype(np.float32)
    digits = data.target.astype(np.int64)
    rng = np.random.default_rng(derive_seed(seed, "handwriting"))
    parts: dict[str, list[NDArray[np.int64]]] = {"train": [], "val": []}
    for digit in range(10):
        members = rng.permutation(np.flatnonzero(digits == digit))
        held = round(len(members) * val_share)
        parts["val"].append(members[:held])
        parts["train"].append(members[held:])
    keep = {split: np.concatenate(part) for split, part in parts.items()}
    return {split: Handwriting(images=images[k], digits=digits[k]) for split, k in keep.items()}


def background(config: MovingDigitsConfig, side: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Render a smooth background (side, side): 4×4 random values, enlarged."""
    coarse = rng.uniform(-config.contrast, config.contrast, size=(4, 4)).astype(np.float32)
    smooth: NDArray[np.float32] = enlarge(coarse, side) + np.float32(rng.uniform(*config.background))
    return smooth


def paint(
    canvas: NDArray[np.float32],
    sprite: NDArray[np.float32],
    origins: NDArray[np.float64],
    brightness: float,
    present: NDArray[np.int64],
) -> None:
    """Blend ink, at sub-pixel origins, into the frames ``present`` of a (T, S + 1, S + 1) canvas.

    The ink is (d, d) for all frames or (M, d, d) with one image per frame ``present``.
    """
    ink, where = place(sprite, origins, present)
    canvas[where] += ink * (np.float32(brightness) - canvas[where])
