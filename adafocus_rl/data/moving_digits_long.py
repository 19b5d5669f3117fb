"""Longer clips of moving digits, on which a policy has to remember: a flash says where the digit will be.

The digit is present in a few frames only, in each of them in another handwriting. Some frames before, a disc flashes at
its place: it says where, and roughly when, the digit will be. Distractors are always there: digits so coarse that they
cannot be read, with as much ink as a digit. At a glance of low resolution, one frame alone does not tell the digit from
them. All have one of two sizes, and the camera moves. Handwriting, files and lists are as in ``moving_digits``; stills
show a digit beside a distractor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.data.datasets import Progress
from adafocus_rl.data.digit_clips import (
    CELLS,
    Handwriting,
    MovingDigitsConfig,
    background,
    close_ups,
    paint,
)
from adafocus_rl.data.digit_files import write_digits
from adafocus_rl.data.sprites import enlarge, path, scramble
from adafocus_rl.seeding import derive_seed

# Incremented when the same configuration gives other pixels, so that old folders are not mistaken for new ones.
GENERATOR = 1

PATHS = 12
"""Paths that are drawn for each distractor, to find one that leaves the others readable."""


@dataclass(frozen=True, kw_only=True)
class MovingDigitsLongConfig(MovingDigitsConfig):
    """Options of the clips. Lengths are in pixels, brightness is a fraction of full scale, time is in frames."""

    dataset: ClassVar[str] = "moving_digits_long"

    val_videos: int = 2000
    """Clips in the validation list, ≥ 1."""
    frames: int = 24
    """Frames per clip, ≥ 2."""
    digit: int = 18
    """Side of the larger digits and distractors, 8 to ``side`` − 1."""
    small_digit: int = 14
    """Side of the smaller ones, 8 to ``digit``. Each digit and distractor has one of the two sizes."""
    distractors: int = 4
    """Distractors per clip, present in all frames; 0 disables them."""
    scramble_block: int = 4
    """Side of the blocks of an 8×8 digit that are permuted before it becomes a distractor: 1, 2 or 4."""
    presence: tuple[float, float] = (0.12, 0.21)
    """Range of the share of the clip's frames that show the digit, in (0, 1]."""
    speed: tuple[float, float] = (0.0, 0.3)
    """Range of the speed of a digit or distractor against the background, in pixels per frame."""
    ink: tuple[float, float] = (0.7, 0.95)
    """Range of the brightness of a digit's ink, drawn per clip."""
    distractor_ink: tuple[float, float] = (0.7, 0.95)
    """Range of the brightness of a distractor's ink."""
    cue_frames: int = 2
    """Frames in which a disc at the digit's place announces it, 0 or more; 0 disables it."""
    cue_ink: float = 1.0
    """Brightness of the disc."""
    lead: tuple[int, int] = (3, 6)
    """Range of the number of frames between the disc and the digit, in which neither is there."""
    camera_range: int = 8
    """Largest shift of the camera along each axis; 0 keeps it still."""
    camera_speed: tuple[float, float] = (0.3, 0.8)
    """Range of the camera's speed, in pixels per frame."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UserError: a value is outside its range; the message names it.
        """
        super().__post_init__()
        longest = self.cue_frames + self.lead[1] + round(self.presence[1] * self.frames)
        self._require(
            {
                "small_digit": (CELLS <= self.small_digit <= self.digit, f"{CELLS} to digit = {self.digit}"),
                "cue_frames": (self.cue_frames >= 0, "0 or more"),
                "cue_ink": (0 <= self.cue_ink <= 1, "0 to 1"),
                "lead": (0 <= self.lead[0] <= self.lead[1], "0 ≤ low ≤ high"),
                "frames": (
                    longest <= self.frames,
                    f"at least cue_frames + lead + presence · frames = {longest}, so that all fit in",
                ),
                "camera_range": (
                    0 <= self.camera_range < self.side - self.digit,
                    f"0 to less than side − digit = {self.side - self.digit}",
                ),
                "camera_speed": (0 <= self.camera_speed[0] <= self.camera_speed[1], "0 ≤ low ≤ high"),
            }
        )


def make_moving_digits_long(
    out: Path,
    config: MovingDigitsLongConfig | None = None,
    progress: Progress | None = None,
    *,
    workers: int | None = None,
) -> dict[str, Path]:
    """Write the dataset; see ``write_digits`` for files, arguments and errors."""
    settings = config if config is not None else MovingDigitsLongConfig()
    return write_digits(
        out, settings, render_long_clip, render_long_stills, generator=GENERATOR, progress=progress, workers=workers
    )


make_moving_digits_long.num_classes = 10  # type: ignore[attr-defined]  # known before the dataset is written


def render_long_clip(
    config: MovingDigitsLongConfig, handwriting: Handwriting, label: int, split: str, number: int
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
        is absent; the disc has no box.
    """
    rng = np.random.default_rng(derive_seed(config.seed, config.dataset, split, number))
    t, side = config.frames, config.side
    camera = _camera(config, rng)
    # One row and column more than the frame: a sprite at a sub-pixel position touches one pixel beyond its side.
    canvas = np.zeros((t, side + 1, side + 1), dtype=np.float32)
    canvas[:, :side, :side] = _shifted_background(config, camera, rng)

    size = _size(config, rng)
    origins = _path(config, size, camera, rng)
    cue, present = plan_frames(config, rng)
    samples = handwriting.images[rng.choice(np.flatnonzero(handwriting.digits == label), size=len(present))]

    centres = [origins + size / 2]
    for image in handwriting.images[rng.integers(len(handwriting.images), size=config.distractors)]:
        other = _size(config, rng)
        apart = _path_apart(config, other, camera, centres, rng)
        centres.append(apart + other / 2)
        sprite = enlarge(blob(scramble(image, config.scramble_block, rng)), other)
        paint(canvas, sprite, apart, rng.uniform(*config.distractor_ink), np.arange(t))
    # Painted last, so that both cover distractors where their paths cross.
    paint(canvas, _disc(size), origins, config.cue_ink, cue)
    written = np.stack([enlarge(sample, size) for sample in samples])
    paint(canvas, written, origins, rng.uniform(*config.ink), present)

    frames = canvas[:, :side, :side]
    frames += np.float32(config.noise) * rng.standard_normal(frames.shape, dtype=np.float32)
    boxes = np.full((t, 4), np.nan)
    boxes[present, :2] = origins[present]
    boxes[present, 2:] = size
    return np.rint(np.clip(frames, 0, 1) * 255).astype(np.uint8), boxes


def render_long_stills(
    config: MovingDigitsLongConfig, handwriting: Handwriting, label: int, number: int
) -> NDArray[np.uint8]:
    """Render close-ups (T, still_side, still_side) uint8 of one class, each with a distractor and without a disc.

    Encoders that have seen a digit beside a distractor can start from videos in which it is rarely there.
    """
    still = replace(
        config,
        side=config.still_side,
        frames=2,
        presence=(1.0, 1.0),
        cue_frames=0,
        lead=(0, 0),
        camera_range=0,
        distractors=min(1, config.distractors),
    )
    return close_ups(render_long_clip, still, handwriting, label, number, count=config.frames)


def plan_frames(
    config: MovingDigitsLongConfig, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the frames of the disc and those of the digit, two contiguous runs."""
    t = config.frames
    length = int(np.clip(round(rng.uniform(*config.presence) * t), 1, t))
    lead = int(rng.integers(config.lead[0], config.lead[1], endpoint=True))
    start = int(rng.integers(t - config.cue_frames - lead - length, endpoint=True))
    cue = np.arange(start, start + config.cue_frames)
    return cue, np.arange(length) + start + config.cue_frames + lead


def blob(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the means (2, 2) of the quarters of an (8, 8) image: a digit that is too coarse to be read."""
    half = CELLS // 2
    means: NDArray[np.float32] = image.reshape(2, half, 2, half).mean((1, 3))
    return means


def _size(config: MovingDigitsLongConfig, rng: np.random.Generator) -> int:
    return int(rng.choice([config.digit, config.small_digit]))


def _camera(config: MovingDigitsLongConfig, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the shift (T, 2) of everything in the frame, in [0, ``camera_range``]."""
    if config.camera_range == 0:
        return np.zeros((config.frames, 2))
    return path(config.frames, span=config.camera_range, speed=config.camera_speed, turn=config.turn, rng=rng)


def _path(
    config: MovingDigitsLongConfig, size: int, camera: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return a sprite's path (T, 2) in the frame: its own, shifted by the camera."""
    span = config.side - size - config.camera_range
    own = path(config.frames, span=span, speed=config.speed, turn=config.turn, rng=rng)
    return np.round(own + camera, 2)


def _path_apart(
    config: MovingDigitsLongConfig,
    size: int,
    camera: NDArray[np.float64],
    centres: list[NDArray[np.float64]],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return that one of several paths (T, 2) which stays farthest from the sprites with these centres, each (T, 2)."""
    paths = [_path(config, size, camera, rng) for _ in range(PATHS)]
    nearest = [np.abs(own + size / 2 - np.stack(centres)).max(-1).min() for own in paths]
    return paths[int(np.argmax(nearest))]


def _shifted_background(
    config: MovingDigitsLongConfig, camera: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return backgrounds (T, S, S): parts of a larger one, shifted by whole pixels."""
    wide = background(config, config.side + config.camera_range, rng)
    corner = config.camera_range - np.rint(camera).astype(np.int64)
    return np.stack([wide[top : top + config.side, left : left + config.side] for top, left in corner])


def _disc(side: int) -> NDArray[np.float32]:
    """Ink (side, side) of a disc that touches the edges."""
    distance = np.arange(side) - (side - 1) / 2
    ink: NDArray[np.float32] = (np.hypot(distance[:, None], distance) <= side / 2).astype(np.float32)
    return ink
