"""Videos whose frames say their own number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from adafocus_rl.data.decode import opencv
from adafocus_rl.data.encode import write_video

Frames = NDArray[np.uint8]
BITS = 8


def _numbered(count: int, height: int = 48, width: int = 64) -> Frames:
    """(T, H, W, 3) RGB: stripe b of the left half is white where bit b of the frame's number is 1; right half
    red."""
    frames = np.zeros((count, height, width, 3), dtype=np.uint8)
    stripe = height // BITS
    for number in range(count):
        for bit in range(BITS):
            if number >> bit & 1:
                frames[number, bit * stripe : (bit + 1) * stripe, : width // 2] = 255
    frames[:, :, width // 2 :, 0] = 200
    return frames


def _read_numbers(frames: Frames) -> list[int]:
    stripe = frames.shape[1] // BITS
    half = frames.shape[2] // 2
    return [
        sum(1 << bit for bit in range(BITS) if frame[bit * stripe : (bit + 1) * stripe, 4 : half - 4].mean() > 127)
        for frame in frames
    ]


@pytest.fixture
def numbered() -> Callable[..., Frames]:
    return _numbered


@pytest.fixture
def read_numbers() -> Callable[[Frames], list[int]]:
    return _read_numbers


@pytest.fixture
def write_folder() -> Callable[[Path, Frames], Path]:
    """Writes frames as 1.png, 2.png, …, 10.png, whose order as text is another one."""

    def write(folder: Path, frames: Frames) -> Path:
        folder.mkdir(parents=True)
        for number, frame in enumerate(frames, start=1):
            opencv().imwrite(str(folder / f"{number}.png"), frame[..., ::-1])
        return folder

    return write


@pytest.fixture
def video_list(tmp_path: Path) -> Path:
    """A list of four readable videos of 5 to 30 frames, one of them a folder, labels 0 to 3, one with two
    labels."""
    rows = ["path,label,num_frames"]
    for number, (count, label) in enumerate([(30, "0"), (12, "1"), (20, "2;3")]):
        write_video(tmp_path / f"{number}.mp4", _numbered(count))
        rows.append(f"{number}.mp4,{label},{count if number else ''}")
    folder = tmp_path / "3"
    folder.mkdir()
    for number, frame in enumerate(_numbered(5)):
        opencv().imwrite(str(folder / f"image_{number:05d}.png"), frame[..., ::-1])
    rows.append("3,3,5")
    path = tmp_path / "list.csv"
    path.write_text("\n".join(rows) + "\n")
    return path
