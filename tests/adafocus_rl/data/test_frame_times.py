"""The time of a frame is the one that its file stores, counted from the first frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from adafocus_rl.data.decode import DecodeError
from adafocus_rl.data.encode import write_video
from adafocus_rl.data.frame_times import frame_times

Frames = NDArray[np.uint8]


def _write(path: Path, frames: Frames, codec: str, times: Sequence[int], **options: str) -> None:
    """With times in hundredths of a second."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = options
        stream.codec_context.time_base = Fraction(1, 100)
        for image, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_an_even_rate(tmp_path: Path, numbered: Callable[..., Frames]) -> None:
    write_video(tmp_path / "a.mp4", numbered(20), fps=10)
    assert frame_times(tmp_path / "a.mp4", [19, 0, 3, 3]) == pytest.approx([1.9, 0.0, 0.3, 0.3])


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_uneven_times_of_reordered_frames(tmp_path: Path, numbered: Callable[..., Frames], suffix: str) -> None:
    """B-frames are stored in another order than shown, and the first frame is not at 0."""
    times = np.cumsum([50, *np.random.default_rng(0).integers(1, 30, size=19)]).tolist()
    _write(tmp_path / f"a.{suffix}", numbered(20), "libx264", times, bf="3", g="6")
    expected = [(times[number] - times[0]) / 100 for number in (0, 5, 6, 19)]
    assert frame_times(tmp_path / f"a.{suffix}", [0, 5, 6, 19]) == pytest.approx(expected, abs=2e-3)


def test_the_rate_is_used_without_times(tmp_path: Path, numbered: Callable[..., Frames]) -> None:
    write_video(tmp_path / "a.h264", numbered(20))
    found = frame_times(tmp_path / "a.h264", [0, 7])
    assert found[0] == 0
    assert found[1] is not None
    assert found[1] > 0


def test_what_is_unknown(
    tmp_path: Path, numbered: Callable[..., Frames], write_folder: Callable[[Path, Frames], Path]
) -> None:
    assert frame_times(write_folder(tmp_path / "images", numbered(3)), [0, 2]) == [None, None]
    write_video(tmp_path / "a.mp4", numbered(5))
    with pytest.raises(DecodeError, match="frame 5 does not decode"):
        frame_times(tmp_path / "a.mp4", [0, 5])
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(DecodeError, match="not a video"):
        frame_times(tmp_path / "text.mp4", [0])
