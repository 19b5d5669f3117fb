"""Some frames of a video file or folder one after another, in constant memory, for online recognition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.data.decode import require_video
from adafocus_rl.data.decode_error import DecodeError
from adafocus_rl.data.ffmpeg import open_video
from adafocus_rl.data.frame_folder import listed_images, read_image
from adafocus_rl.data.video_file import all_frames


@dataclass(frozen=True, kw_only=True)
class StreamedFrame:
    """A frame of a stream."""

    number: int
    """Number of the frame in the video, from 0."""
    seconds: float | None
    """Time from the first frame; None if it is unknown, as in a folder of images."""
    pixels: NDArray[np.uint8]
    """(H, W, 3) RGB."""


@dataclass(kw_only=True)
class Every:
    """Frames at a regular distance, from the first: every n-th, or the first at or after each multiple of a time."""

    frames: int = 1
    """n; not used if ``seconds`` is given."""
    seconds: float | None = None
    """Distance in seconds; None to count frames."""
    _due: float = field(default=0.0, init=False)

    def wants(self, number: int, seconds: float | None) -> bool:
        """Return whether to use a frame; to be called for each frame of one stream, in order.

        Args:
            number: number of the frame, from 0.
            seconds: its time from the first frame, which may be None if distances are in frames.
        """
        if self.seconds is None:
            return number % self.frames == 0
        assert seconds is not None
        # The tolerance is for times that rounding moved before a multiple.
        if seconds < self._due - 1e-6:
            return False
        # Not the last frame's time plus the distance: the delays of late frames would add up.
        self._due = self.seconds * (1 + (seconds + 1e-6) // self.seconds)
        return True


def stream_frames(path: Path, every: Every, *, template: str | None = None) -> Iterator[StreamedFrame]:
    """Yield frames of a video one after another; only one is in memory at a time.

    Numbers and times are those of ``decode_frames`` and ``frame_times``, but a frame without a stored time has that of
    its number at the average frame rate.

    Args:
        path: a video file, or a folder of images.
        every: the frames to yield.
        template: pattern of the names of a folder's frames.

    Raises:
        DecodeError: the video is missing, no frame decodes, or ``every`` needs times that are unknown.
    """
    require_video(path)
    if path.is_dir():
        for number, name in enumerate(listed_images(path, template)):
            if _wants(every, path, number, None):
                yield StreamedFrame(number=number, seconds=None, pixels=read_image(path, name))
        return
    number = -1
    with open_video(path) as video:
        fps, first = video.fps, None
        for number, frame in enumerate(all_frames(video)):
            stored = video.seconds(frame)
            first = stored if number == 0 else first
            counted = number / fps if fps else None
            seconds = counted if stored is None or first is None else stored - first
            if _wants(every, path, number, seconds):
                yield StreamedFrame(number=number, seconds=seconds, pixels=video.image(frame))
    if number < 0:
        raise DecodeError(path, "opens as a video, but no frame decodes")


def _wants(every: Every, path: Path, number: int, seconds: float | None) -> bool:
    if every.seconds is not None and seconds is None:
        raise DecodeError(path, "the times of its frames are unknown; give a number of frames instead of seconds")
    return every.wants(number, seconds)
