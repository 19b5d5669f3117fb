"""Pixels of named frames, from a video file or a folder of frame images.

Video files are read with OpenCV's FFmpeg backend from the start: every frame up to the last wanted one is
decoded (`grab`), and only wanted ones are converted (`retrieve`). Seeking would be faster in long videos and
is wrong in many files; this way frame i is always the i-th frame.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.data.frame_names import frame_images
from adafocus_rl.data.index import absence
from adafocus_rl.errors import UserError


class DecodeError(Exception):
    """A video that cannot be read: `path` and a `reason` in plain words."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = str(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a video holds."""

    num_frames: int
    """Frames that decode, counted."""
    height: int
    """Height in pixels, as displayed."""
    width: int
    """Width in pixels, as displayed."""
    fps: float
    """Frames per second; 0 when unknown (a folder of images)."""


def decode_frames(
    path: Path, indices: Sequence[int] | NDArray[np.int64], *, template: str | None = None
) -> NDArray[np.uint8]:
    """Decode the frames with these numbers.

    Args:
        path: a video file, or a folder whose .jpg and .png images in natural order (2 before 10) are the
            frames.
        indices: T frame numbers from 0, in any order, repeats allowed.
        template: which images of a folder are the frames, see `frame_images`; None to let their names tell.

    Returns:
        (T, H, W, 3) RGB uint8, in the order of `indices`.

    Raises:
        DecodeError: nothing there, nothing decodable, or fewer frames than wanted.
        ValueError: no index, or a negative one.
        UserError: OpenCV cannot be imported.
    """
    wanted = [int(i) for i in indices]
    if not wanted or min(wanted) < 0:
        raise ValueError(f"indices are {wanted}; expected at least one, none negative")
    _require(path)
    frames = _decode_folder(path, wanted, template) if path.is_dir() else _decode_file(path, wanted)
    first = frames[wanted[0]]
    out = np.empty((len(wanted), *first.shape), dtype=np.uint8)
    for position, i in enumerate(wanted):
        if frames[i].shape != first.shape:
            raise DecodeError(path, f"frame {i} has the shape {frames[i].shape}, frame {wanted[0]} has {first.shape}")
        # NumPy and not cv2.cvtColor: OpenCV's thread pool does not survive the fork into loader processes.
        out[position] = frames[i][..., ::-1]
    return out


def probe(path: Path, *, template: str | None = None) -> VideoInfo:
    """Count the frames and read the size; `template` as in `decode_frames`.

    Containers' own frame counts are estimates in many files, so every frame of a video file is decoded.

    Raises:
        DecodeError: nothing there or nothing decodable.
        UserError: OpenCV cannot be imported.
    """
    _require(path)
    if path.is_dir():
        images = _images(path, template)
        height, width = _read_image(path, images[0]).shape[:2]
        return VideoInfo(num_frames=len(images), height=height, width=width, fps=0.0)
    cv2 = opencv()
    with _capture(path) as capture:
        frames = 0
        height, width = 0, 0
        while capture.grab():
            if frames == 0:
                height, width = _retrieve(path, capture, 0).shape[:2]
            frames += 1
        if frames == 0:
            raise DecodeError(path, "opens as a video, but no frame decodes")
        return VideoInfo(num_frames=frames, height=height, width=width, fps=float(capture.get(cv2.CAP_PROP_FPS)))


@lru_cache(maxsize=1)
def opencv() -> Any:
    """The module cv2, imported when first needed and told to keep FFmpeg's messages to itself.

    Raises:
        UserError: cv2 is not there or one of its libraries is not, with the package that helps.
    """
    # Everything FFmpeg has to say about a bad file, we say in words; it reads this when the first video is
    # opened.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        import cv2
    except ImportError as error:
        raise UserError(
            f"OpenCV cannot be imported ({error}); where libGL or another library of a display is absent, "
            "replace opencv-python with opencv-python-headless of the same version"
        ) from error
    logging = getattr(cv2.utils, "logging", None)
    if logging is not None and "OPENCV_LOG_LEVEL" not in os.environ:
        logging.setLogLevel(logging.LOG_LEVEL_ERROR)
    return cv2


def _require(path: Path) -> None:
    reason = absence(path)
    if reason is not None:
        raise DecodeError(path, reason)


def _decode_file(path: Path, wanted: Sequence[int]) -> dict[int, NDArray[np.uint8]]:
    """{frame number: (H, W, 3) BGR}."""
    frames: dict[int, NDArray[np.uint8]] = {}
    needed = set(wanted)
    with _capture(path) as capture:
        for i in range(max(wanted) + 1):
            if not capture.grab():
                if i == 0:
                    raise DecodeError(path, "opens as a video, but no frame decodes")
                first = min(number for number in needed if number >= i)
                raise DecodeError(path, f"truncated: wanted frame {first}, only {i} decode")
            if i in needed:
                frames[i] = _retrieve(path, capture, i)
    return frames


@contextmanager
def _capture(path: Path) -> Iterator[Any]:
    cv2 = opencv()
    # One thread: loader processes are the parallelism, and frame threads would only contend.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    try:
        if not capture.isOpened():
            raise DecodeError(path, f"{path.stat().st_size} bytes, but not a video that FFmpeg can open")
        yield capture
    finally:
        capture.release()


def _retrieve(path: Path, capture: Any, i: int) -> NDArray[np.uint8]:
    good, frame = capture.retrieve()
    if not good or frame is None:
        raise DecodeError(path, f"frame {i} is damaged")
    image: NDArray[np.uint8] = frame
    return image


def _decode_folder(path: Path, wanted: Sequence[int], template: str | None) -> dict[int, NDArray[np.uint8]]:
    """{frame number: (H, W, 3) BGR}."""
    images = _images(path, template)
    beyond = [i for i in wanted if i >= len(images)]
    if beyond:
        raise DecodeError(path, f"truncated: wanted frame {min(beyond)}, the folder holds {len(images)} images")
    return {i: _read_image(path, images[i]) for i in sorted(set(wanted))}


def _images(folder: Path, template: str | None) -> list[Path]:
    images = frame_images(folder, template)
    if not images:
        raise DecodeError(folder, f"no image in the folder is named like the template {template!r}")
    return images


def _read_image(folder: Path, path: Path) -> NDArray[np.uint8]:
    cv2 = opencv()
    # Through bytes: cv2.imread cannot open names outside the system's code page on Windows.
    data = np.fromfile(path, dtype=np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise DecodeError(folder, f"{path.name} is not an image that decodes ({data.size} bytes)")
    frame: NDArray[np.uint8] = image
    return frame
