"""The embedded dataset: a handwritten digit moves over a larger frame among distractors during part of the clip.

The handwriting is scikit-learn's ``load_digits`` (1,797 real 8×8 digits, UCI ML repository), and the class is the
digit. A distractor is another digit of the same size whose pixels are scrambled in blocks; it has a digit's ink and
motion but not its shape. A blurred glance finds digits among distractors, and a full-resolution patch shows which digit
it is. The digit is present only for a contiguous part of the clip, so frames differ in value. Stills, close-ups of
single digits, serve to pre-train encoders without published weights. Lists and boxes are byte-identical for a seed;
training and validation share no handwriting sample.
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

# Incremented when the same configuration gives other pixels, so that old folders are not mistaken for new ones.
GENERATOR = 1


@DATASETS.register("moving_digits")
def make_moving_digits(
    out: Path,
    config: MovingDigitsConfig | None = None,
    progress: Progress | None = None,
    *,
    workers: int | None = None,
) -> dict[str, Path]:
    """Write the dataset.

    The files are ``{train,val,stills}/NNNNN.mp4``, ``{train,val,stills}.csv``, ``{train,val}_boxes.csv`` and
    ``classes.txt``. A complete folder with the same configuration stays unchanged.

    Args:
        out: folder to write; must be absent or empty, or hold the same dataset.
        config: options of the clips; None for the defaults.
        progress: called with (number of clips written, number of clips to write).
        workers: processes that render and encode, which affects only the time; 0 for this process alone, None for one
            per processor.

    Returns:
        {"train": list file, "val": list file, "stills": list file}; without "stills" if there are none.

    Raises:
        UserError: ``out`` holds other files, or was written with another configuration.
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


make_moving_digits.num_classes = 10  # type: ignore[attr-defined]  # known before the dataset is written


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
    """Yield the result of ``_write_clip`` for every job, in order."""
    if workers is None:
        # Below about a hundred clips, starting processes takes longer than the work.
        workers = os.cpu_count() or 1 if len(jobs) >= 100 else 0
    if workers <= 1 or not may_start_processes():
        yield map(_write_clip, jobs)
        return
    # Processes, not threads: the interpreter needs as much time as x264.
    with ProcessPoolExecutor(max_workers=workers) as pool:
        yield pool.map(_write_clip, jobs, chunksize=8)


def _write_clip(job: Job) -> NDArray[np.float64]:
    """Write one clip; return its true boxes (T, 4), or (0, 4) for stills."""
    folder, config, label, split, number = job
    handwriting = split_handwriting(config)
    if split == "stills":
        frames, boxes = render_stills(config, handwriting["train"], label, number), np.empty((0, 4))
    else:
        frames, boxes = render_clip(config, handwriting[split], label, split, number)
    # Noise does not compress: slower presets take twice the time for the same size and error.
    write_video(folder / _name(split, number), frames, fps=config.fps, crf=config.crf, preset="ultrafast")
    return boxes


def _name(split: str, number: int) -> str:
    return f"{split}/{number:05d}.mp4"


def _box_rows(name: str, boxes: NDArray[np.float64]) -> list[str]:
    present = np.flatnonzero(~np.isnan(boxes[:, 0]))
    return [f"{name},{frame}," + ",".join(f"{value:.2f}" for value in boxes[frame]) + "\n" for frame in present]


def _write_text(path: Path, header: str, rows: list[str]) -> None:
    # newline="" gives the same bytes on every platform.
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(header)
        file.writelines(rows)
