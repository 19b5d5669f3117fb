"""Writing a dataset of rendered clips: videos, lists, true boxes and class names."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.data.datasets import Progress
from adafocus_rl.data.encode import write_video
from adafocus_rl.data.folder import write_once
from adafocus_rl.data.processes import map_in_processes, may_start_processes

Render = Callable[[int, str, int], tuple[NDArray[np.uint8], NDArray[np.float64] | None]]
"""Called with (label, split, number of the clip in its split); returns frames (T, S, S) or (T, S, S, 3) and true boxes
(T, 4) of [top, left, height, width] with NaN where there is none, or None instead of boxes for a split without them.
Other processes must be able to unpickle it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipSet:
    """Content of a dataset."""

    render: Render
    """Renders a clip as a function of its arguments only."""
    labels: Mapping[str, Sequence[int]]
    """Class of each clip by split: {"train": …, "val": …} and optionally "stills"."""
    classes: Sequence[str]
    """Names of the classes."""
    frames: int
    """Frames per clip."""
    fps: int
    """Frames per second written into the files."""
    crf: int
    """x264's constant rate factor."""


def even_labels(count: int, classes: int, *, seed: int) -> NDArray[np.int64]:
    """Draw the class of each clip, (count,): as balanced as possible, in random order."""
    labels: NDArray[np.int64] = np.random.default_rng(seed).permutation(np.arange(count, dtype=np.int64) % classes)
    return labels


def write_clips(
    out: Path,
    clips: ClipSet,
    *,
    description: Mapping[str, Any],
    progress: Progress | None = None,
    workers: int | None = None,
) -> dict[str, Path]:
    """Write a dataset; a complete folder with the same description stays unchanged.

    The files are ``SPLIT/NNNNN.mp4``, ``SPLIT.csv``, ``SPLIT_boxes.csv`` for splits with boxes, and ``classes.txt``.

    Args:
        out: folder to write; must be absent or empty, or hold the same dataset.
        clips: content of the dataset.
        description: plain JSON values that determine the content.
        progress: called with (number of clips written, number of clips to write).
        workers: processes that render and encode, which affects only the time; 0 for this process alone, None for one
            per processor.

    Returns:
        List file of each split.

    Raises:
        UserError: ``out`` holds other files, or was written with another description.
    """
    out = Path(out)
    write_once(out, description=description, write=lambda folder: _write_all(folder, clips, progress, workers))
    return {split: out / f"{split}.csv" for split in clips.labels}


def _write_all(folder: Path, clips: ClipSet, progress: Progress | None, workers: int | None) -> None:
    _write_text(folder / "classes.txt", "", [f"{name}\n" for name in clips.classes])
    jobs = [
        (folder / _name(split, number), label, split, number)
        for split, labels in clips.labels.items()
        for number, label in enumerate(labels)
    ]
    rows: dict[str, list[str]] = {split: [] for split in clips.labels}
    boxes: dict[str, list[str]] = {}
    for split in clips.labels:
        (folder / split).mkdir()
    with _mapped(_Writer(clips.render, fps=clips.fps, crf=clips.crf), jobs, workers) as written:
        for done, (job, clip_boxes) in enumerate(zip(jobs, written, strict=True), start=1):
            _, label, split, number = job
            name = _name(split, number)
            rows[split].append(f"{name},{label},{clips.frames}\n")
            if clip_boxes is not None:
                boxes.setdefault(split, []).extend(_box_rows(name, clip_boxes))
            if progress is not None:
                progress(done, len(jobs))
    for split, lines in rows.items():
        _write_text(folder / f"{split}.csv", "path,label,num_frames\n", lines)
    for split, lines in boxes.items():
        _write_text(folder / f"{split}_boxes.csv", "path,frame,top,left,height,width\n", lines)


Job = tuple[Path, int, str, int]


@dataclasses.dataclass(frozen=True)
class _Writer:
    """Renders and writes one clip."""

    render: Render
    _: dataclasses.KW_ONLY
    fps: int
    crf: int

    def __call__(self, job: Job) -> NDArray[np.float64] | None:
        """Write one clip; return its true boxes, if it has any."""
        path, label, split, number = job
        frames, boxes = self.render(label, split, number)
        # Noise does not compress: slower presets take twice the time for the same size and error.
        write_video(path, frames, fps=self.fps, crf=self.crf, preset="ultrafast")
        return boxes


@contextmanager
def _mapped(writer: _Writer, jobs: list[Job], workers: int | None) -> Iterator[Iterator[NDArray[np.float64] | None]]:
    """Yield the result of ``writer`` for every job, in order."""
    if workers is None:
        # Below about a hundred clips, starting processes takes longer than the work.
        workers = os.cpu_count() or 1 if len(jobs) >= 100 else 0
    if workers <= 1 or not may_start_processes():
        yield map(writer, jobs)
        return
    # Processes, not threads: the interpreter needs as much time as x264.
    with closing(map_in_processes(writer, jobs, workers=workers, chunk=8)) as written:
        yield written


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
