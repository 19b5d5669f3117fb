"""What a clip is read from: the files of its video, by which the same video is recognised in another list."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.data.decode_error import DecodeError
from adafocus_rl.data.frame_folder import listed_images
from adafocus_rl.data.sampling import clip_indices


@dataclass(frozen=True)
class ClipSource:
    """Hashes of what the frames of a video's evaluation clip are read from, of 32 hex digits each.

    Both cover the size and the time of the last change of the video, or of the images of its folder that the clip
    contains; the number of frames that the list gives; and the number of frames of the clip. The content is not read.
    Labels, true boxes and transforms are left out.
    """

    here: str
    """Also covers the path without links."""
    moved: str
    """Leaves the folder out, and the fractions of a second, which copies and archives may lose: moved files keep it."""


def clip_source(dataset: ClipDataset, i: int) -> ClipSource | None:
    """Return what the frames of the i-th video's evaluation clip are read from; None if the files cannot be found."""
    index, frame_sets = dataset.index, dataset.frame_sets
    video_frames = index[i].video_frames
    try:
        path = Path(os.path.realpath(index.full_path(i)))
        files = [path]
        if path.is_dir():
            names = listed_images(path, index.template)
            frames = clip_indices(video_frames or len(names), frame_sets, rng=None)
            files = [path / names[frame] for frame in frames.tolist()]
        stats = [file.stat() for file in files]
    except (OSError, ValueError, IndexError, DecodeError):  # decoding says what is wrong with it
        return None
    here = [(str(file), stat.st_size, stat.st_mtime_ns) for file, stat in zip(files, stats, strict=True)]
    moved = [(size, changed // 10**9) for _, size, changed in here]
    return ClipSource(_hash([here, video_frames, frame_sets]), _hash([moved, video_frames, frame_sets]))


def _hash(values: list[Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]


def clip_sources(dataset: ClipDataset, rows: Iterable[int]) -> dict[int, ClipSource]:
    """Return ``clip_source`` of the videos at these rows, by row; those whose files cannot be found are left out."""
    found = {row: clip_source(dataset, row) for row in rows}
    return {row: source for row, source in found.items() if source is not None}
