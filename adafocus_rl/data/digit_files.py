"""Writing a dataset of moving digits: videos, lists and true boxes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.data.datasets import Progress
from adafocus_rl.data.digit_clips import MovingDigitsConfig, plan_labels, split_handwriting
from adafocus_rl.data.encode import write_video
from adafocus_rl.data.folder import write_once
from adafocus_rl.data.processes import may_start_processes

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
    """Write a dataset of digits.

    The files are ``{train,val,stills}/NNNNN.mp4``, ``{train,val,stills}.csv``, ``{train,val}_boxes.csv`` and
    ``classes.txt``. A complete folder with the same configuration stays unchanged.

    Args:
        out: folder to write; must be absent or empty, or hold the same dataset.
        config: options of the clips; its ``dataset`` is the name in ``dataset.json``.
        clip: renders a clip; a function of a module, so that other processes can call it.
        stills: renders the frames of one list entry of stills; likewise.
        generator: version of the renderers, kept in ``dataset.json``.
        progress: called with (number of clips written, number of clips to write).
        workers: processes that render and encode, which affects only the time; 0 for this process alone, None for one
            per processor.

    Returns:
        {"train": list file, "val": list file, "stills": list file}; without "stills" if there are none.

    Raises:
        UserError: ``out`` holds other files, or was written with another configuration.
    """
    out = Path(out)
    writer = _Writer(config=config, clip=clip, stills=stills)
    write_once(
        out,
        description={"name": config.dataset, "generator": generator, "config": dataclasses.asdict(config)},
        write=lambda folder: _write_all(folder, writer, progress, workers),
    )
    splits = ("train", "val", "stills") if config.still_videos else ("train", "val")
    return {split: out / f"{split}.csv" for split in splits}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Writer:
    """What each clip is written with."""

    config: MovingDigitsConfig
    clip: RenderClip
    stills: RenderStills

    def __call__(self, job: Job) -> NDArray[np.float64]:
        """Write one clip; return its true boxes (T, 4), or (0, 4) for stills."""
        path, label, split, number = job
        config, handwriting = self.config, split_handwriting(self.config)
        if split == "stills":
            frames, boxes = self.stills(config, handwriting["train"], label, number), np.empty((0, 4))
        else:
            frames, boxes = self.clip(config, handwriting[split], label, split, number)
        # Noise does not compress: slower presets take twice the time for the same size and error.
        write_video(path, frames, fps=config.fps, crf=config.crf, preset="ultrafast")
        return boxes


Job = tuple[Path, int, str, int]


def _write_all(folder: Path, writer: _Writer, progress: Progress | None, workers: int | None) -> None:
    config = writer.config
    (folder / "classes.txt").write_text("".join(f"{digit}\n" for digit in range(10)), encoding="utf-8")
    counts = {"train": config.train_videos, "val": config.val_videos}
    if config.still_videos:
        counts["stills"] = config.still_videos
    labels = {split: plan_labels(config, split, count).tolist() for split, count in counts.items()}
    jobs = [
        (folder / _name(split, number), label, split, number)
        for split in counts
        for number, label in enumerate(labels[split])
    ]
    rows: dict[str, list[str]] = {split: [] for split in counts}
    boxes: dict[str, list[str]] = {split: [] for split in counts}
    for split in counts:
        (folder / split).mkdir()
    with _mapped(writer, jobs, workers) as written:
        for done, (job, clip_boxes) in enumerate(zip(jobs, written, strict=True), start=1):
            _, label, split, number = job
            name = _name(split, number)
            rows[split].append(f"{name},{label},{config.frames}\n")
            boxes[split] += _box_rows(name, clip_boxes)
            if progress is not None:
                progress(done, len(jobs))
    for split in counts:
        _write_text(folder / f"{split}.csv", "path,label,num_frames\n", rows[split])
    for split in ("train", "val"):
        _write_text(folder / f"{split}_boxes.csv", "path,frame,top,left,height,width\n", boxes[split])


@contextmanager
def _mapped(writer: _Writer, jobs: list[Job], workers: int | None) -> Iterator[Iterator[NDArray[np.float64]]]:
    """Yield the result of ``writer`` for every job, in order."""
    if workers is None:
        # Below about a hundred clips, starting processes takes longer than the work.
        workers = os.cpu_count() or 1 if len(jobs) >= 100 else 0
    if workers <= 1 or not may_start_processes():
        yield map(writer, jobs)
        return
    # Processes, not threads: the interpreter needs as much time as x264.
    with ProcessPoolExecutor(max_workers=workers) as pool:
        yield pool.map(writer, jobs, chunksize=8)


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
