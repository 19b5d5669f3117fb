"""``adafocus bench decode``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from adafocus_rl.data.decode import decode_frames
from adafocus_rl.experiments.bench.decode_loops import (
    clip_indices,
    made_avi,
    made_folder,
    made_video,
    opencv_loop,
    pillow_loop,
    pyav_loop,
)
from adafocus_rl.experiments.bench.timing import Timing, compare

Reader = Callable[[Path, Sequence[int]], object]
"""Reads the frames of a video that have the given numbers."""


def bench_decode(device: torch.device) -> list[Timing]:
    """Read 16 of 300 frames of 320×240 in one thread: ours against plain loops, a JPEG folder against the video."""
    with tempfile.TemporaryDirectory() as made:
        video, avi, folder = (Path(made) / name for name in ("video.mp4", "video.avi", "frames"))
        made_video(video)
        made_avi(avi, video)
        made_folder(folder, video)
        wanted = clip_indices()

        def timing(case: str, reader: Reader, path: Path, other: str, plain: Reader, plain_path: Path) -> Timing:
            fast, slow = ("ours", lambda: reader(path, wanted)), (other, lambda: plain(plain_path, wanted))
            return compare(f"decode, {case}", fast, slow, device)

        return [
            timing("H.264", decode_frames, video, "OpenCV loop", opencv_loop, video),
            timing("H.264", decode_frames, video, "PyAV loop", pyav_loop, video),
            timing("MPEG-4 in AVI", decode_frames, avi, "OpenCV loop", opencv_loop, avi),
            timing("MPEG-4 in AVI", decode_frames, avi, "PyAV loop", pyav_loop, avi),
            timing("frame folder", decode_frames, folder, "Pillow loop", pillow_loop, folder),
            timing("frame folder", decode_frames, folder, "H.264, ours", decode_frames, video),
        ]
