"""Writing a dataset of moving digits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.data.clip_files import ClipSet, write_clips
from adafocus_rl.data.datasets import Progress
from adafocus_rl.data.digit_clips import MovingDigitsConfig, plan_labels, split_handwriting

RenderClip = Callable[..., tuple[NDArray[np.uint8], NDArray[np.float64]]]
"""Called with (config, handwriting, label, split, number); returns frames (T, S, S) and true boxes (T, 4)."""

RenderStills = Callable[..., NDArray[np.uint8]]
"""Called with (config, handwriting, label, number); returns frames (T, still_side, still_side)."""


def write_digits(
    out: Path,
    config: MovingDigitsConfig,
    clip: RenderClip,
    stills: RenderStills,
    *,
    generator: int,
    progress: Progress | None = None,
    workers: int | None = None,
) -> dict[str, Path]:
    """Write a dataset of digits; see ``write_clips`` for the files, the other arguments and the errors.

    Args:
        out: folder to write.
        config: options of the clips; its ``dataset`` is the name in ``dataset.json``.
        clip: renders a clip; a function of a module, so that other processes can call it.
        stills: renders the frames of one list entry of stills; likewise.
        generator: version of the renderers, kept in ``dataset.json``.
        progress: as for ``write_clips``.
        workers: as for ``write_clips``.

    Returns:
        {"train": list file, "val": list file, "stills": list file}; without "stills" if there are none.
    """
    counts = {"train": config.train_videos, "val": config.val_videos}
    if config.still_videos:
        counts["stills"] = config.still_videos
    clips = ClipSet(
        render=_Renderer(config=config, clip=clip, stills=stills),
        labels={split: plan_labels(config, split, count).tolist() for split, count in counts.items()},
        classes=[str(digit) for digit in range(10)],
        frames=config.frames,
        fps=config.fps,
        crf=config.crf,
    )
    description = {"name": config.dataset, "generator": generator, "config": dataclasses.asdict(config)}
    return write_clips(out, clips, description=description, progress=progress, workers=workers)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Renderer:
    """Renders a clip with its split's handwriting."""

    config: MovingDigitsConfig
    clip: RenderClip
    stills: RenderStills

    def __call__(self, label: int, split: str, number: int) -> tuple[NDArray[np.uint8], NDArray[np.float64] | None]:
        """Return the frames and true boxes of a clip; stills have no boxes."""
        handwriting = split_handwriting(self.config)
        if split == "stills":
            return self.stills(self.config, handwriting["train"], label, number), None
        return self.clip(self.config, handwriting[split], label, split, number)
