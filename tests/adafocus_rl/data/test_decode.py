"""Frame i is the i-th frame, from files and folders, and a bad file says what is bad about it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from adafocus_rl.data.decode import DecodeError, decode_frames, opencv, probe
from adafocus_rl.data.encode import write_video

Frames = NDArray[np.uint8]
Numbered = Callable[..., Frames]
ReadNumbers = Callable[[Frames], list[int]]


@pytest.fixture
def video(tmp_path: Path, numbered: Numbered) -> Path:
    path = tmp_path / "video.mp4"
    write_video(path, numbered(40), fps=10)
    return path


@pytest.mark.parametrize("wanted", [[0], [39], [0, 1, 2], [3, 9, 27], [27, 3, 9], [5, 5, 5, 0], list(range(40))])
def test_video_frames_are_the_ones_asked_for(video: Path, read_numbers: ReadNumbers, wanted: list[int]) -> None:
    frames = decode_frames(video, wanted)
    assert frames.shape == (len(wanted), 48, 64, 3)
    assert frames.dtype == np.uint8
    assert read_numbers(frames) == wanted


def test_folder_frames_are_in_natural_order_and_exact(
    tmp_path: Path, numbered: Numbered, write_folder: Callable[[Path, Frames], Path]
) -> None:
    stored = numbered(12)
    folder = write_folder(tmp_path / "frames", stored)
    (folder / "notes.txt").write_text("not a frame")
    assert np.array_equal(decode_frames(folder, [11, 0, 1, 9, 9]), stored[[11, 0, 1, 9, 9]])


def test_colours_are_rgb(video: Path) -> None:
    red, green, blue = decode_frames(video, [0])[0, 10:38, 40:60].reshape(-1, 3).mean(axis=0)
    assert red > 180
    assert green < 20
    assert blue < 20


def test_grey_frames_survive_encoding(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8), (3, 48, 64)).copy()
    write_video(tmp_path / "grey.mp4", ramp, crf=1)
    frames = decode_frames(tmp_path / "grey.mp4", [0, 2]).astype(int)
    assert np.abs(frames - ramp[[0, 2]][..., None].astype(int)).max() <= 4
    assert np.ptp(frames, axis=-1).max() <= 2


def test_probe_counts_frames(
    video: Path, tmp_path: Path, numbered: Numbered, write_folder: Callable[[Path, Frames], Path]
) -> None:
    info = probe(video)
    assert (info.video_frames, info.height, info.width, info.fps) == (40, 48, 64, 10.0)
    info = probe(write_folder(tmp_path / "frames", numbered(7)))
    assert (info.video_frames, info.height, info.width, info.fps) == (7, 48, 64, 0.0)


def _text(path: Path) -> None:
    path.write_text("this is no video\n" * 100)


def _garbage(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def _empty(path: Path) -> None:
    path.touch()


def _empty_folder(path: Path) -> None:
    path.mkdir()


def _bad_image(path: Path) -> None:
    path.mkdir()
    (path / "1.jpg").write_text("no image")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_text, "not a video"),
        (_garbage, "not a video"),
        (_empty, "0 bytes"),
        (lambda path: None, "no such file"),
        (_empty_folder, "no .jpg or .png"),
        (_bad_image, "1.jpg is not an image"),
    ],
)
@pytest.mark.parametrize("read", [lambda path: decode_frames(path, [0]), probe])
def test_bad_input_is_named(
    tmp_path: Path,
    make: Callable[[Path], None],
    reason: str,
    read: Callable[[Path], object],
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "bad.mp4"
    make(path)
    with pytest.raises(DecodeError) as caught:
        read(path)
    assert caught.value.path == str(path)
    assert reason in caught.value.reason
    # One reason in plain words, not FFmpeg's chatter beside it.
    assert capfd.readouterr() == ("", "")


def test_missing_frames_are_counted(
    video: Path, tmp_path: Path, numbered: Numbered, write_folder: Callable[[Path, Frames], Path]
) -> None:
    with pytest.raises(DecodeError, match="wanted frame 45, only 40 decode"):
        decode_frames(video, [3, 50, 45])
    folder = write_folder(tmp_path / "frames", numbered(4))
    with pytest.raises(DecodeError, match="wanted frame 4, the folder holds 4 images"):
        decode_frames(folder, [0, 4])


def test_file_cut_short_is_reported(video: Path) -> None:
    content = video.read_bytes()
    video.write_bytes(content[: len(content) // 2])
    with pytest.raises(DecodeError):
        decode_frames(video, [39])


def test_frames_of_different_sizes_are_reported(
    tmp_path: Path, numbered: Numbered, write_folder: Callable[[Path, Frames], Path]
) -> None:
    folder = write_folder(tmp_path / "frames", numbered(2))
    opencv().imwrite(str(folder / "3.png"), numbered(1, height=32)[0])
    with pytest.raises(DecodeError, match="frame 2 has 32×64 pixels, frame 0 has 48×64"):
        decode_frames(folder, [0, 2])


@pytest.mark.parametrize("wanted", [[], [0, -1]])
def test_senseless_indices_are_refused(video: Path, wanted: list[int]) -> None:
    with pytest.raises(ValueError, match="expected at least one, none negative"):
        decode_frames(video, wanted)


def test_missing_libgl_names_the_headless_package(tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text(
        'raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")\n'
    )
    program = (
        "from adafocus_rl.data.decode import opencv\n"
        "from adafocus_rl.errors import UserError\n"
        "try:\n    opencv()\nexcept UserError as error:\n    print(error)\n"
    )
    # A module beside the program is found before the installed one.
    (tmp_path / "program.py").write_text(program)
    run = subprocess.run([sys.executable, str(tmp_path / "program.py")], capture_output=True, text=True, check=True)
    assert "libGL.so.1" in run.stdout
    assert "opencv-python-headless" in run.stdout


def test_writer_refuses_what_it_cannot_write(tmp_path: Path, numbered: Numbered) -> None:
    with pytest.raises(ValueError, match="even height and width"):
        write_video(tmp_path / "a.mp4", numbered(2, height=47))
    with pytest.raises(ValueError, match="expected uint8"):
        write_video(tmp_path / "a.mp4", numbered(2).astype(np.float32))  # type: ignore[arg-type]
