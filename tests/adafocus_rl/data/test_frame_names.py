"""Which images of a folder are its frames."""

from __future__ import annotations

from pathlib import Path

import pytest

from adafocus_rl.data.decode import DecodeError, decode_frames, probe
from adafocus_rl.data.frame_names import frame_images, parse_template, split_families
from adafocus_rl.errors import UserError


def _folder(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize("template", ["image_{:05d}.jpg", "{:05d}.jpg", "img_{:05d}.jpg", "{:06d}.jpg", "{}.png"])
def test_templates_are_detected(template: str) -> None:
    (family,) = split_families(template.format(number) for number in (12, 9, 10, 8))
    assert family.template == template
    assert list(family.names) == [8, 9, 10, 12]
    assert family.gaps == [11]
    assert family.name(11) == template.format(11)


def test_a_number_of_twenty_digits_is_no_list_of_that_length() -> None:
    (family,) = split_families(("image_1.jpg", "image_4.jpg", f"image_{10**20}.jpg"))
    assert family.gaps[:3] == [2, 3, 5]
    assert len(family.gaps) == 1000


def test_optical_flow_and_hidden_files_are_no_frames(tmp_path: Path) -> None:
    names = ["image_00002.jpg", "image_00001.jpg", "flow_x_00001.jpg", "flow_y_00001.jpg", "._image_00001.jpg", "a.txt"]
    folder = _folder(tmp_path, *names)
    assert [path.name for path in frame_images(folder)] == ["image_00001.jpg", "image_00002.jpg"]
    assert [path.name for path in frame_images(folder, "flow_x_{:05d}.jpg")] == ["flow_x_00001.jpg"]
    assert [path.name for path in frame_images(folder, "flow_y_{:05d}")] == ["flow_y_00001.jpg"]
    assert frame_images(folder, "img_{:05d}.jpg") == []


def test_numbers_longer_than_the_template_count(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "99999.jpg", "100000.jpg", "1.jpg")
    assert [path.name for path in frame_images(folder, "{:05d}.jpg")] == ["99999.jpg", "100000.jpg"]
    assert [path.name for path in frame_images(folder)] == ["1.jpg", "99999.jpg", "100000.jpg"]


def test_decoding_goes_by_the_template(tmp_path: Path, numbered, read_numbers, write_folder) -> None:  # type: ignore[no-untyped-def]
    folder = write_folder(tmp_path / "video", numbered(6))
    for path in sorted(folder.iterdir()):
        number = int(path.stem)
        if number > 3:
            path.rename(folder / f"late_{number}.png")
    assert read_numbers(decode_frames(folder, [0, 2], template="late_{}.png")) == [3, 5]
    assert probe(folder, template="late_{}.png").video_frames == 3
    with pytest.raises(DecodeError, match="no image in the folder is named like the template 'img_"):
        decode_frames(folder, [0], template="img_{:05d}")


@pytest.mark.parametrize("template", ["{:0999999999d}", "{:0" + "9" * 5000 + "d}.jpg", "{0.__class__}", "{:>99999999}"])
def test_templates_that_ask_for_more_than_a_number(template: str) -> None:
    with pytest.raises(UserError, match="expected one number in braces"):
        parse_template(template)
