"""Times of numbered frames of a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adafocus_rl.data.decode_error import DecodeError
from adafocus_rl.data.ffmpeg import open_video
from adafocus_rl.data.video_file import all_frames


def frame_times(path: Path, numbers: Sequence[int]) -> list[float | None]:
    """Return the time of each frame in seconds, counted from the first frame of the video.

    These are the presentation times that the file stores. Without them, or if they are not in order, a frame's time is
    its number divided by the average frame rate.

    Args:
        path: a video file, or a folder of images.
        numbers: one or more frame numbers from 0, counted as in ``decode_frames``.

    Returns:
        None for every frame of a folder, and of a file that states neither times nor a rate.

    Raises:
        DecodeError: the file is not a video, or has too few frames.
    """
    if path.is_dir():
        return [None] * len(numbers)
    needed = sorted({0, *numbers})
    stored: list[float | None] = []
    with open_video(path) as video:
        # Decoded in order and not by the packets' times, which some files number differently from their frames.
        for number, frame in enumerate(all_frames(video)):
            if number == needed[len(stored)]:
                stored.append(video.seconds(frame))
                if len(stored) == len(needed):
                    break
        else:
            raise DecodeError(path, f"truncated: frame {needed[len(stored)]} does not decode")
        fps = video.fps
    known = [time for time in stored if time is not None]
    if len(known) == len(needed) and known == sorted(set(known)):
        times = dict(zip(needed, known, strict=True))
        return [times[number] - times[0] for number in numbers]
    return [number / fps if fps else None for number in numbers]
