"""Frames of a webcam, by OpenCV."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.data.decode_error import DecodeError
from adafocus_rl.data.frame_folder import opencv
from adafocus_rl.data.list_text import number

WEBCAMS = 10_000
"""Numbers below this may be webcams; greater ones, such as dates in file names, are not."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The frames that a webcam gave in some seconds."""

    frames: NDArray[np.uint8]
    """(n, H, W, 3) RGB."""
    seconds: list[float]
    """Time of each frame, from the first."""


def webcam_number(name: str) -> int | None:
    """Return the webcam that a name stands for; None for the name of a file or folder, existing or not."""
    found = number(name)
    return found if found is not None and found < WEBCAMS and not Path(name).exists() else None


def webcam_title(camera: int) -> str:
    """Return the name of a webcam in results and messages."""
    return f"webcam {camera}"


def webcam_frames(camera: int) -> Generator[tuple[float, NDArray[np.uint8]], None, None]:
    """Yield the frames of a webcam as they come; the webcam is released when the iterator is closed.

    Frames that come while the caller is busy are lost, except for the few that the driver keeps.

    Args:
        camera: number of the webcam.

    Yields:
        The time in seconds, from the first frame, and the frame, (H, W, 3) RGB uint8.

    Raises:
        DecodeError: there is no such webcam, or it returns no frame.
    """
    cv2 = opencv()
    if hasattr(cv2.utils, "logging"):
        # The messages below replace OpenCV's own.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(camera)
    started = None
    try:
        if not capture.isOpened():
            raise DecodeError(webcam_title(camera), f"there is no webcam {camera}, and no file or folder called so")
        while True:
            good, frame = capture.read()
            if not good:
                break
            now = time.monotonic()
            started = now if started is None else started
            yield now - started, frame[..., ::-1]
    finally:
        capture.release()
    if started is None:
        raise DecodeError(webcam_title(camera), "it opens, but gives no frame")


def record(camera: int, seconds: float, *, begin: Callable[[], None] | None = None) -> Recording:
    """Record the frames of some seconds from a webcam; at least one.

    Args:
        camera: number of the webcam.
        seconds: duration, from the first frame.
        begin: called with the first frame.

    Raises:
        DecodeError: there is no such webcam, or it returns no frame.
    """
    frames: list[NDArray[np.uint8]] = []
    times: list[float] = []
    with closing(webcam_frames(camera)) as stream:
        for at, frame in stream:
            if not frames and begin is not None:
                begin()
            if at > seconds:
                break
            frames.append(frame)
            times.append(at)
    return Recording(frames=np.stack(frames), seconds=times)
