"""Frames of a file one after another: the same pixels and times as by number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adafocus_rl.data.decode import decode_frames
from adafocus_rl.data.decode_error import DecodeError
from adafocus_rl.data.encode import write_video
from adafocus_rl.data.file_stream import Every, stream_frames
from adafocus_rl.data.frame_times import frame_times


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Nine frames, ten a second."""
    frames = np.random.default_rng(0).integers(0, 256, (9, 32, 48, 3), dtype=np.uint8)
    write_video(tmp_path / "video.mp4", frames, fps=10)
    return tmp_path / "video.mp4"


@pytest.mark.parametrize(
    ("every", "numbers"),
    [
        (Every(), list(range(9))),
        (Every(frames=4), [0, 4, 8]),
        (Every(seconds=0.3), [0, 3, 6]),
        # Multiples of 0.25 s: the first frame at or after each.
        (Every(seconds=0.25), [0, 3, 5, 8]),
        (Every(seconds=0.01), list(range(9))),
        (Every(seconds=100.0), [0]),
    ],
)
def test_frames_are_those_of_the_file(video: Path, every: Every, numbers: list[int]) -> None:
    found = list(stream_frames(video, every))
    assert [frame.number for frame in found] == numbers
    assert [frame.seconds for frame in found] == pytest.approx(frame_times(video, numbers))
    assert np.array_equal([frame.pixels for frame in found], decode_frames(video, numbers))


def test_a_folder_has_no_times(tmp_path: Path) -> None:
    for number in range(12):
        Image.fromarray(np.full((8, 8, 3), number, dtype=np.uint8)).save(tmp_path / f"{number}.png")
    found = list(stream_frames(tmp_path, Every(frames=5)))
    assert [(frame.number, frame.seconds, int(frame.pixels[0, 0, 0])) for frame in found] == [
        (0, None, 0), (5, None, 5), (10, None, 10),
    ]  # fmt: skip
    with pytest.raises(DecodeError, match="the times of its frames are unknown"):
        next(stream_frames(tmp_path, Every(seconds=0.5)))


def test_what_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    for path, reason in ((tmp_path / "text.mp4", "not a video"), (tmp_path / "nowhere", "no such file")):
        with pytest.raises(DecodeError, match=reason):
            next(stream_frames(path, Every()))
