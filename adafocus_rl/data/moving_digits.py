"""The embedded data: a handwritten digit wanders over a larger frame among moving distractors, for a part of
the clip.

Handwriting is scikit-learn's ``load_digits`` (1,797 real 8×8 digits, UCI ML repository). Class = digit. A
distractor is another digit of the same size whose pixels are scrambled in blocks, so that ink and motion are
a digit's and only the shape is not: a blurred glance finds digits among distractors, a full-resolution patch
reads which digit it is. The digit is there only for a contiguous stretch of the clip, so frames differ in
value. Close-ups of single digits lie beside them, for encoders without published weights to start on. Frame lists
and boxes are byte-identical for a seed; training and validation share no handwriting sample.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.data.datasets import DATASETS, Progress
from adafocus_rl.data.digit_clips import MovingDigitsConfig, plan_labels, render_clip, render_stills, split_handwriting
from adafocus_rl.data.encode import write_video
from adafocus_rl.data.folder import write_once
from adafocus_rl.data.processes import may_start_processes

__all__ = ["MovingDigitsConfig", "make_moving_digits"]

# Goes up when the same configuration gives other pixels, so that old folders are not mistaken for new ones.
GENERATOR = 1


@DATASETS.register("moving_digits")
def make_moving_digits(
    out: Path,
    config: MovingDigitsConfig | None = None,
    progress: Progress | None = None,
    *,
    workers: int | None = None,
) -> dict[str, Path]:
    """Write the dataset: ``{train,val,stills}/NNNNN.mp4``, ``{train,val,stills}.csv``, ``{train,val}_boxes.csv``,
    ``classes.txt``.

    A complete folder made with the same configuration is left as it is.

    Args:
        out: folder to write; must be absent or empty, or hold the same dataset.
        config: what the clips look like; None for the defaults.
        progress: called with (clips written, clips to write).
        workers: processes that render and encode, which changes nothing but the time; 0 for this process
            alone, None for one per processor.

    Returns:
        {"train": list file, "val": list file, "stills": list file}; without "stills" when there are none.

    Raises:
        UserError: ``out`` holds something else, or was made with another configuration.
    """
    settings = config if config is not None else MovingDigitsConfig()
    out = Path(out)
    write_once(
        out,
        description={"name": "moving_digits", "generator": GENERATOR, "config": dataclasses.asdict(settings)},
        write=lambda folder: _write_all(folder, settings, progress, workers),
    )
    splits = ("train", "val", "stills") if settings.still_videos else ("train", "val")
    return {split: out / f"{split}.csv" for split in splits}


make_moving_digits.num_classes = 10  # type: ignore[attr-defined]  # so that nothing need be written to know it


def _write_all(folder: Path, config: MovingDigitsConfig, progress: Progress | None, workers: int | None) -> None:
    (folder / "classes.txt").write_text("".join(f"{digit}\n" for digit in range(10)), encoding="utf-8")
    counts = {"train": config.train_videos, "val": config.val_videos}
    if config.still_videos:
        counts["stills"] = config.still_videos
    labels = {split: plan_labels(config, split, count).tolist() for split, count in counts.items()}
    jobs = [(folder, config, label, split, number) for split in counts for number, label in enumerate(labels[split])]
    rows: dict[str, list[str]] = {split: [] for split in counts}
    boxes: dict[str, list[str]] = {split: [] for split in counts}
    for split in counts:
        (folder / split).mkdir()
    with _mapped(jobs, workers) as written:
        for done, (job, clip_boxes) in enumerate(zip(jobs, written, strict=True), start=1):
            _, _, label, split, number = job
            name = _name(split, number)
            rows[split].append(f"{name},{label},{config.frames}\n")
            boxes[split] += _box_rows(name, clip_boxes)
            if progress is not None:
                progress(done, len(jobs))
    for split in counts:
        _write_text(folder / f"{split}.csv", "path,label,num_frames\n", rows[split])
    for split in ("train", "val"):
        _write_text(folder / f"{split}_boxes.csv", "path,frame,top,left,height,width\n", boxes[split])


Job = tuple[Path, MovingDigitsConfig, int, str, int]


@contextmanager
def _mapped(jobs: list[Job], workers: int | None) -> Iterator[Iterator[NDArray[np.float64]]]:
    """``_write_clip`` of every job, in order."""
    if workers is None:
        # Below some hundred clips, starting processes takes longer than the work.
        workers = os.cpu_count() or 1 if len(jobs) >= 100 else 0
    if workers <= 1 or not may_start_processes():
        yield map(_write_clip, jobs)
        return
    # Processes: between two calls into x264 the interpreter works as long as x264 does.
    with ProcessPoolExecutor(max_workers=workers) as pool:
        yield pool.map(_write_clip, jobs, chunksize=8)


def _write_clip(job: Job) -> NDArray[np.float64]:
    """Write one clip; returns its boxes (T, 4), or none (0, 4) for stills."""
    folder, config, label, split, number = job
    handwriting = split_handwriting(config)
    if split == "stills":
        frames, boxes = render_stills(config, handwriting["train"], label, number), np.empty((0, 4))
    else:
        frames, boxes = render_clip(config, handwriting[split], label, split, number)
    # Noise does not compress: the slower presets take twice the time for as many bytes at the same error.
    write_video(folder / _name(split, number), frames, fps=config.fps, crf=config.crf, preset="ultrafast")
    return boxes


def _name(split: str, number: int) -> str:
    return f"{split}/{number:05d}.mp4"


def _box_rows(name: str, boxes: NDArray[np.float64]) -> list[str]:
    present = np.flatnonzero(~np.isnan(boxes[:, 0]))
    return [f"{name},{frame}," + ",".join(f"{value:.2f}" for value in boxes[frame]) + "\n" for frame in present]


def _write_text(path: Path, header: str, rows: list[str]) -> None:
    # newline="": the same bytes on every platform.
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(header)
        file.writelines(rows)
