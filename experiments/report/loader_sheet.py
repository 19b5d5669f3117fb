"""``loader.png``: clips of a few videos as the loader yields them, and the inputs of f_G and f_L."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from adafocus_rl.data.clips import Clip
from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.data.index import VideoIndex
from adafocus_rl.envs.render import draw_boxes
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.clips import clips_of
from adafocus_rl.experiments.config.experiment import ExperimentConfig
from adafocus_rl.models.recognizer import patch_grid
from adafocus_rl.printable import printable
from adafocus_rl.seeding import derive_seed

CELL = 128
"""Side of a drawn frame in pixels."""

COLUMNS = 8
"""Maximum number of frames drawn per clip, spread evenly."""

TEXT = 300
"""Width of the text on the left in pixels."""

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".pdf")
"""File name suffixes of supported picture formats."""


def write_loader_sheet(
    index: VideoIndex, config: ExperimentConfig, path: Path, *, videos: int, num_classes: int
) -> int:
    """Draw a few random videos: a training clip, the evaluation clip, and its glances and one patch of each frame.

    Args:
        index: the videos to sample from.
        config: sizes, sampling and augmentation; its seed determines the videos, the augmentation and the patches.
        path: the picture to write.
        videos: maximum number of videos.
        num_classes: K.

    Returns:
        The number of videos drawn.
    """
    drawn = np.random.default_rng(derive_seed(config.seed, "loader sheet")).permutation(len(index))[:videos]
    datasets = [clips_of(config, index, train=train, num_classes=num_classes) for train in (True, False)]
    rows = []
    for position in sorted(int(position) for position in drawn):
        training, evaluation = (dataset[position] for dataset in datasets)
        # The check before has decoded the video, but a randomly sampled frame may still be damaged.
        if isinstance(training, Clip) and isinstance(evaluation, Clip):
            rows.append(_video(datasets[1], position, training, evaluation, config))
    head = 34
    sheet = Image.new(
        "RGB", (max((row.width for row in rows), default=TEXT), head + sum(r.height for r in rows)), "white"
    )
    mirrored = "half of them mirrored" if config.data.flip else "not mirrored"
    size = f"{config.model.frame_size}x{config.model.frame_size}"
    frames = " + ".join(str(size) for size in datasets[1].frame_sets)
    title = f"{frames} frames a clip, {size}; training crop: {config.data.crop}, {mirrored}"
    ImageDraw.Draw(sheet).text((8, 8), title, fill="black", font=ImageFont.load_default(15))
    top = head
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    sheet.save(path)
    return len(rows)


def check_picture(path: Path) -> None:
    """Check that a file name has the suffix of a supported picture format.

    Raises:
        UserError: if it does not.
    """
    if path.suffix.lower() not in PICTURES:
        raise UserError(f"--out is {path}; give a file that ends in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}")


def _video(
    clips: ClipDataset, position: int, training: Clip, evaluation: Clip, config: ExperimentConfig
) -> Image.Image:
    """Draw four rows of a video's frames, with text beside them: f_L's frames, but f_G's in the row of glances."""
    model = config.model
    grid = patch_grid(model)
    places = torch.arange(clips.num_frames)
    glanced, columns = _spread(places[: clips.frame_sets[0]]), _spread(clips.focus_frames(places))
    draw = torch.Generator().manual_seed(derive_seed(config.seed, "patches", position))
    actions = torch.randint(grid.num_actions, (len(columns),), generator=draw)
    side, patch = model.frame_size, model.patch_size
    frames = evaluation.clip[columns]
    seen = evaluation.clip[glanced].float()
    glances = F.interpolate(seen, size=(model.glance_size,) * 2, mode="bilinear", antialias=True)
    boxes = grid.action_box(actions).tolist()
    patches = grid.crop(frames, grid.action_origin(actions), grid.scale(actions))
    outlined = [draw_boxes(_hwc(frame), box=box, min_side=side) for frame, box in zip(frames, boxes, strict=True)]
    record = clips.index[position]
    names = clips.index.class_names or ()
    labels = ", ".join(names[label] if label < len(names) else f"class {label}" for label in record.labels)
    own = [f"frames {_numbers(evaluation.frames[glanced])}"] if len(clips.frame_sets) > 1 else []
    texts = [
        [record.path, labels, "", "training:", f"frames {_numbers(training.frames[columns])}"],
        ["evaluation, a random patch outlined:", f"frames {_numbers(evaluation.frames[columns])}"],
        [f"what f_G sees: {model.glance_size}x{model.glance_size}", *own],
        [f"what f_L sees of each patch: {patch}x{patch}"],
    ]
    pictures = [
        [_hwc(frame) for frame in training.clip[columns]],
        outlined,
        [_hwc(glance.round().clamp(0, 255).to(torch.uint8)) for glance in glances],
        [_hwc(each) for each in patches],
    ]
    gap = 4
    size = TEXT + max(map(len, pictures)) * (CELL + gap), len(pictures) * (CELL + gap) + 12
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for row, (lines, cells) in enumerate(zip(texts, pictures, strict=True)):
        top = row * (CELL + gap)
        for number, line in enumerate(lines):
            pen.text((8, top + 4 + 18 * number), _fit(line), fill="black", font=font)
        for column, cell in enumerate(cells):
            sheet.paste(_cell(cell), (TEXT + column * (CELL + gap), top))
    return sheet


def _spread(places: Tensor) -> Tensor:
    """Return the frames of a set that are drawn, evenly spread."""
    return places[torch.linspace(0, len(places) - 1, min(COLUMNS, len(places))).round().long()]


def _cell(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Image.Image:
    """Return a square picture resized to a cell: enlarged without interpolation, or reduced smoothly."""
    how = Image.Resampling.NEAREST if len(pixels) <= CELL else Image.Resampling.LANCZOS
    return Image.fromarray(pixels).resize((CELL, CELL), how)


def _hwc(frame: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = frame.permute(1, 2, 0).numpy()
    return pixels


def _numbers(frames: Tensor) -> str:
    return " ".join(str(int(number)) for number in frames)


def _fit(text: str, limit: int = 46) -> str:
    text = printable(text)
    return text if len(text) <= limit else f"…{text[1 - limit :]}"
