"""Decoding of numbered frames from a video file or a folder of frame images (docs/decoding.md)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.data.decode_error import DecodeError
from adafocus_rl.data.frame_folder import folder_frames, listed_images, opencv, read_image
from adafocus_rl.data.index import absence
from adafocus_rl.data.video_file import VideoInfo, file_frames, file_info

__all__ = ["DecodeError", "VideoInfo", "decode_frames", "opencv", "probe"]


def decode_frames(
    path: Path, indices: Sequence[int] | NDArray[np.int64], *, template: str | None = None
) -> NDArray[np.uint8]:
    """Decode frames by number.

    Args:
        path: a video file, or a folder whose .jpg and .png images in natural order (2 before 10) are the frames.
        indices: T frame numbers from 0, in any order; repeats are allowed.
        template: pattern of the names of a folder's frames, see ``frame_images``; None detects it.

    Returns:
        (T, H, W, 3) RGB uint8, in the order of ``indices``.

    Raises:
        DecodeError: the video is missing or not decodable, has too few frames, or frames of different sizes or of too
            large a size.
        ValueError: ``indices`` is empty or contains a negative number.
        UserError: OpenCV cannot be imported.
    """
    wanted = [int(i) for i in indices]
    if not wanted or min(wanted) < 0:
        raise ValueError(f"indices are {wanted}; expected at least one, none negative")
    require_video(path)
    frames = folder_frames(path, wanted, template) if path.is_dir() else file_frames(path, wanted)
    first = frames[wanted[0]]
    for i in wanted:
        if frames[i].shape != first.shape:
            raise DecodeError(path, f"frame {i} has {_size(frames[i])} pixels, frame {wanted[0]} has {_size(first)}")
    places: dict[int, list[int]] = {}
    for place, i in enumerate(wanted):
        places.setdefault(i, []).append(place)
    clip = np.empty((len(wanted), *first.shape), dtype=np.uint8)
    # Each frame is freed as soon as it is copied; a 4K clip is too large to keep twice.
    while frames:
        i, frame = frames.popitem()
        clip[places[i]] = frame
    return clip


def probe(path: Path, *, template: str | None = None) -> VideoInfo:
    """Count the frames of a video and read their size; ``template`` as in ``decode_frames``.

    Every frame of a video file is decoded, because the frame counts in many containers are estimates.

    Raises:
        DecodeError: the video is missing or not decodable.
        UserError: OpenCV cannot be imported.
    """
    require_video(path)
    if path.is_dir():
        images = listed_images(path, template)
        height, width = read_image(path, images[0]).shape[:2]
        return VideoInfo(video_frames=len(images), height=height, width=width, fps=0.0)
    return file_info(path)


def _size(frame: NDArray[np.uint8]) -> str:
    height, width = frame.shape[:2]
    return f"{height}×{width}"


def require_video(path: Path) -> None:
    """Check that there is a non-empty file or a folder of images.

    Raises:
        DecodeError: there is none; the reason says what there is.
    """
    reason = absence(path)
    if reason is not None:
        raise DecodeError(path, reason)
