"""Folders of images: order, colours, orientation, and images that are not whole."""

from __future__ import annotations

import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from adafocus_rl.data.decode import DecodeError, decode_frames, probe
from adafocus_rl.data.frame_folder import listed_images
from adafocus_rl.data.frame_names import _natural

EXIF_ORIENTATION = 0x0112


def _picture(height: int = 32, width: int = 64) -> Image.Image:
    """Red at the top left, blue at the bottom right, in blocks that JPEG keeps."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[: height // 2, : width // 2, 0] = 250
    pixels[height // 2 :, width // 2 :, 2] = 250
    return Image.fromarray(pixels)


def _close(frame: Any, picture: Image.Image) -> bool:
    expected = np.asarray(picture.convert("RGB")).astype(int)
    return frame.shape == expected.shape and float(np.abs(frame - expected).mean()) < 3


def test_colours_of_a_jpeg(tmp_path: Path) -> None:
    _picture().save(tmp_path / "1.jpg", quality=95)
    assert _close(decode_frames(tmp_path, [0])[0], _picture())


@pytest.mark.parametrize("name", ["1.jpg", "1.jpeg", "1.JPG", "1.png"])
def test_endings(tmp_path: Path, name: str) -> None:
    _picture().save(tmp_path / name)
    assert _close(decode_frames(tmp_path, [0])[0], _picture())


@pytest.mark.parametrize(("orientation", "turn"), [(3, 2), (6, -1), (8, 1)])
def test_orientation_of_a_camera_is_applied(tmp_path: Path, orientation: int, turn: int) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    _picture().save(tmp_path / "1.jpg", quality=95, exif=exif)
    frame = decode_frames(tmp_path, [0])[0]
    assert _close(frame, Image.fromarray(np.rot90(np.asarray(_picture()), turn)))
    assert (probe(tmp_path).height, probe(tmp_path).width) == frame.shape[:2]
    # Beside one without it, the two are not of one size as they are shown.
    _picture().save(tmp_path / "2.jpg", quality=95)
    if orientation != 3:
        with pytest.raises(DecodeError, match="frame 1 has 32×64 pixels, frame 0 has 64×32"):
            decode_frames(tmp_path, [0, 1])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_other_pixels_become_rgb(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        grey = Image.fromarray(np.asarray(_picture().convert("L")).astype(np.uint16) * 257)
        grey.save(tmp_path / "1.png")
        expected = _picture().convert("L")
    else:
        expected = _picture().convert(mode)
        expected.save(tmp_path / "1.png")
    assert _close(decode_frames(tmp_path, [0])[0], expected)


def test_a_jpeg_cut_short_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "1.jpg")
    Image.fromarray(noise).save(tmp_path / "2.jpg")
    whole = decode_frames(tmp_path, [0])
    content = (tmp_path / "2.jpg").read_bytes()
    (tmp_path / "2.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(DecodeError, match=r"2\.jpg is (cut short|not an image)"):
        decode_frames(tmp_path, [0, 1])
    # Cameras write more behind the end of the image; that is no cut.
    (tmp_path / "2.jpg").write_bytes(content + b"more" * 100)
    assert np.array_equal(decode_frames(tmp_path, [1]), whole)


def test_a_png_cut_short_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "1.png")
    content = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DecodeError, match=r"1\.png is"):
        decode_frames(tmp_path, [0])


def test_hidden_files_are_no_frames(tmp_path: Path) -> None:
    _picture().save(tmp_path / "1.jpg")
    (tmp_path / "._1.jpg").write_bytes(b"a resource fork of macOS")
    assert probe(tmp_path).video_frames == 1
    (tmp_path / "1.jpg").unlink()
    for read in (probe, lambda path: decode_frames(path, [0])):
        with pytest.raises(DecodeError, match=r"holds no \.jpg or \.png image"):
            read(tmp_path)


@settings(max_examples=20)
@given(st.lists(st.from_regex(r"v[ab_]{0,2}[0-9]{1,3}[ab]?[0-9]{0,2}", fullmatch=True), min_size=1, unique=True))
def test_the_quick_way_to_natural_order_is_right(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder = tmp_path_factory.mktemp("names")
    for name in names:
        (folder / f"{name}.jpg").touch()
    found = listed_images(folder)
    assert found == sorted(found, key=_natural)
    assert sorted(found) == sorted(f"{name}.jpg" for name in names)


def test_order_of_padded_and_of_plain_numbers(tmp_path: Path) -> None:
    for folder, form in (("padded", "image_{:05d}.jpg"), ("plain", "{}.jpg")):
        (tmp_path / folder).mkdir()
        for number in (9, 10, 101, 2):
            (tmp_path / folder / form.format(number)).touch()
        assert listed_images(tmp_path / folder) == [form.format(number) for number in (2, 9, 10, 101)]


def test_threads_and_processes_read_the_same(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(draw.integers(0, 256, (40, 56, 3), dtype=np.uint8)).save(tmp_path / f"{number}.jpg")
    # First in this process: what OpenCV has started here must not stop those that are forked off.
    expected = decode_frames(tmp_path, range(8))
    read = partial(decode_frames, tmp_path)
    wanted = [[7, 1, 0], [3, 3], [2, 6, 5, 4]] * 4
    with ThreadPoolExecutor(4) as threads:
        assert all(np.array_equal(a, expected[b]) for a, b in zip(threads.map(read, wanted), wanted, strict=True))
    if "fork" in multiprocessing.get_all_start_methods():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as forked:
                assert all(
                    np.array_equal(a, expected[b]) for a, b in zip(forked.map(read, wanted), wanted, strict=True)
                )
