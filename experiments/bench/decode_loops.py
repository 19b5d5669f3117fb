"""Material of ``adafocus bench decode``: a synthetic video, and the plain loops that one would write to read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adafocus_rl.data.decode import decode_frames, opencv
from adafocus_rl.data.encode import write_video

CLIP_FRAMES = 16
"""Number of frames read from the video: the middle ones of as many segments."""

VIDEO_FRAMES, HEIGHT, WIDTH = 300, 240, 320

JPEG_QUALITY = 95
"""OpenCV's default."""


def made_video(path: Path) -> None:
    """Write an H.264 video of a camera that pans over a textured plane, with a disc in front and a little noise.

    The preset and quality are x264's defaults, as in most files in circulation.
    """
    cv2 = opencv()
    rng = np.random.default_rng(0)
    plane = np.zeros((3 * HEIGHT, 3 * WIDTH, 3), dtype=np.float32)
    for cells, weight in ((9, 0.5), (36, 0.3), (144, 0.2)):
        texture = rng.integers(0, 256, (cells, cells * 4 // 3, 3)).astype(np.float32)
        plane += weight * cv2.resize(texture, (3 * WIDTH, 3 * HEIGHT), interpolation=cv2.INTER_CUBIC)
    frames = np.empty((VIDEO_FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    for number in range(VIDEO_FRAMES):
        top, left = int(HEIGHT * (1 + np.sin(number / 30))), int(WIDTH * (1 + np.cos(number / 40)))
        noise = 2 * rng.standard_normal((HEIGHT, WIDTH, 3), dtype=np.float32)
        frame = plane[top : top + HEIGHT, left : left + WIDTH] + noise
        frame = np.clip(frame, 0, 255).astype(np.uint8)
        centre = (int(WIDTH / 2 + WIDTH / 3 * np.sin(number / 9)), int(HEIGHT / 2 + HEIGHT / 3 * np.cos(number / 7)))
        frames[number] = cv2.circle(frame, centre, 30, (220, 40, 60), -1)
    write_video(path, frames, crf=23, preset="medium")


def made_avi(path: Path, video: Path) -> None:
    """Write the frames of a video as MPEG-4 in AVI, as in older datasets; such files are decoded in order."""
    cv2 = opencv()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"XVID"), 25, (WIDTH, HEIGHT))
    for frame in decode_frames(video, range(VIDEO_FRAMES)):
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()


def made_folder(folder: Path, video: Path) -> None:
    """Write the frames of a video as JPEG images."""
    cv2 = opencv()
    folder.mkdir()
    for number, frame in enumerate(decode_frames(video, range(VIDEO_FRAMES)), start=1):
        name = folder / f"image_{number:05d}.jpg"
        cv2.imwrite(str(name), frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def clip_indices() -> list[int]:
    """Return the numbers of the frames to read."""
    return [int(VIDEO_FRAMES / CLIP_FRAMES * (i + 0.5)) for i in range(CLIP_FRAMES)]


def opencv_loop(path: Path, wanted: Sequence[int]) -> NDArray[np.uint8]:
    """Return (T, H, W, 3) RGB frames in ascending order: grab every frame, retrieve the wanted ones, in one thread."""
    cv2 = opencv()
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    frames = []
    for number in range(wanted[-1] + 1):
        capture.grab()
        if number in wanted:
            _, frame = capture.retrieve()
            frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    capture.release()
    return np.stack(frames)


def pillow_loop(folder: Path, wanted: Sequence[int]) -> NDArray[np.uint8]:
    """Return (T, H, W, 3) RGB frames of a folder that ``made_folder`` wrote."""
    return np.stack([np.asarray(Image.open(folder / f"image_{number + 1:05d}.jpg")) for number in wanted])


def pyav_loop(path: Path, wanted: Sequence[int]) -> NDArray[np.uint8]:
    """Return (T, H, W, 3) RGB frames in ascending order: decode every frame, convert the wanted ones, in one thread."""
    frames = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                frames.append(frame.to_ndarray(format="rgb24"))
            if number == wanted[-1]:
                break
    return np.stack(frames).astype(np.uint8, copy=False)
