"""``adafocus data check``: every planted fault named once, a clean list passed, and the picture."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import time
import wave
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from adafocus_rl.data.encode import write_video
from adafocus_rl.data.processes import run_in_processes
from adafocus_rl.experiments.report import loader_sheet

Cli = Any
HEADER = "path,label,num_frames,group\n"
CLASSES = ["run", "jump", "swim", "Run", "throw"]  # 3 is 0 again, 4 has no video

SIZES = """
data: {num_frames: 4, flip: false}
model: {frame_size: 32, glance_size: 16, patch_size: 16, grid: 3, num_classes: 0}
"""


def picture(seed: int, frames: int = 8, height: int = 36, width: int = 48) -> NDArray[np.uint8]:
    """(T, H, W, 3) noise in blocks, another for each seed."""
    draw = np.random.default_rng(seed)
    blocks = draw.integers(0, 256, (frames, height // 6, width // 6, 3), dtype=np.uint8)
    return blocks.repeat(6, axis=1).repeat(6, axis=2)


def video(path: Path, seed: int, **size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, picture(seed, **size))
    return path


def folder(path: Path, seed: int, template: str = "image_{:05d}.jpg", **size: int) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(picture(seed, **size), start=1):
        Image.fromarray(frame).save(path / template.format(number))
    return path


@pytest.fixture
def sizes(tmp_path: Path) -> Path:
    """A recipe of small frames."""
    path = tmp_path / "small.yaml"
    path.write_text(SIZES)
    return path


def plant(root: Path) -> tuple[list[str], list[str], list[tuple[str, str, str]]]:
    """Lines of both lists, and what is wrong: (kind, place, words of the sentence)."""
    video(root / "good.mp4", 1)
    video(root / "other.mp4", 2)
    video(root / "third.mp4", 3)
    lines = ["good.mp4,0,8,a", "other.mp4,1,8,b", "third.mp4,2,,c"]
    wrong: list[tuple[str, str, str]] = []

    def add(line: str, kind: str, words: str) -> None:
        lines.append(line)
        wrong.append((kind, f"train.csv, line {len(lines) + 1}", words))

    add("no_label.mp4,swim,8,", "bad_line", "label is 'swim'")
    add("short_line.mp4,1", "bad_line", "not 4 values")
    add("count.mp4,1,-8,", "bad_line", "num_frames is '-8'")
    add(",1,8,", "bad_line", "the path is empty")
    add("good.mp4,1,8,", "duplicate", "is on line 2 already")
    video(root / "range.mp4", 4)
    add("range.mp4,5,8,", "label_range", "expected 0 to 4 for 5 classes")
    add("gone.mp4,0,8,", "missing", "there is no")
    video(root / "Capital.MP4".lower(), 5).rename(root / "Capital.MP4")
    add("capital.mp4,0,8,", "missing", "there is 'Capital.MP4'")
    (root / "empty.mp4").touch()
    add("empty.mp4,0,8,", "empty_file", "0 bytes")
    (root / "text.mp4").write_text("I am no video")
    add("text.mp4,0,8,", "not_a_video", "13 bytes, but not a video")
    (root / "notes.txt").write_text("some notes")
    add("notes.txt,0,8,", "not_a_video", ".txt is not the ending of a video")
    with wave.open(str(root / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(8000))
    (root / "sound.wav").rename(root / "sound.avi")
    add("sound.avi,0,8,", "no_video", "sound only")
    video(root / "cut.mp4", 6)
    add("cut.mp4,0,99,", "frame_count", "the list says 99 frames, but there are 8")
    whole = video(root / "half.mp4", 7, frames=40).read_bytes()
    (root / "half.mp4").write_bytes(whole[: len(whole) // 2])
    add("half.mp4,0,40,", "frame_count", "the list says 40 frames")
    (root / "nothing").mkdir()
    add("nothing,0,8,", "empty_folder", "no .jpg or .png image")
    (folder(root / "zero", 8) / "image_00003.jpg").write_bytes(b"")
    add("zero,0,8,", "empty_frames", "image_00003.jpg of its images have 0 bytes")
    (folder(root / "gap", 9) / "image_00004.jpg").unlink()
    add("gap,0,7,", "frame_gap", "image_00004.jpg")
    folder(root / "mixed", 10, "left_{:02d}.jpg")
    folder(root / "mixed", 11, "right_{:02d}.jpg")
    add("mixed,0,16,", "mixed_frames", "left_{:02d}.jpg, right_{:02d}.jpg")
    (folder(root / "broken", 12) / "image_00004.jpg").write_bytes(b"no image")
    add("broken,0,8,", "unreadable", "image_00004.jpg is not an image that decodes")
    Image.fromarray(picture(13, height=48)[0]).save(folder(root / "sizes", 13) / "image_00006.jpg")
    add("sizes,0,8,", "unreadable", "frame 5 has 48×48 pixels")
    (root / "link.mp4").symlink_to(root / "good.mp4")
    add("link.mp4,0,8,", "copy", "'link.mp4' is the same file as 'good.mp4'")
    shutil.copy(root / "other.mp4", root / "copied.mp4")
    add("copied.mp4,1,8,", "copy", "'copied.mp4' is byte for byte the same as 'other.mp4'")
    video(root / "a" / "v_xyz.mp4", 14)
    lines.append("a/v_xyz.mp4,2,8,d")

    val = ["good.mp4,0,8,v"]
    wrong.append(("overlap_file", "val.csv, line 2", "'good.mp4' is the same file as 'good.mp4'"))
    folder(root / "b" / "xyz", 15)
    val.append("b/xyz,2,8,w")
    wrong.append(("overlap_id", "val.csv, line 3", "'b/xyz' has the id of 'a/v_xyz.mp4'"))
    video(root / "new.mp4", 16)
    val.append("new.mp4,1,8,b")
    wrong.append(("overlap_group", "val.csv", "group 'b' has videos in both lists"))
    (root / "val_boxes.csv").write_text("path,frame,top,left,height,width\nnew.mp4,8,0,0,4,4\n")
    wrong.append(("boxes", "val.csv", "frame 8 of 'new.mp4'"))
    wrong.append(("class_name", "classes.txt", "classes 0 and 3 are both named 'Run'"))
    wrong.append(("empty_class", "train.csv", "no video has class 3 (Run), 4 (throw) (of 5)"))
    return lines, val, wrong


def test_every_planted_fault_is_named_once(cli: Cli, tmp_path: Path, sizes: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    train, val, wrong = plant(root)
    (root / "train.csv").write_text(HEADER + "\n".join(train) + "\n")
    (root / "val.csv").write_text(HEADER + "\n".join(val) + "\n")
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    lists = [root / "train.csv", "--val", root / "val.csv"]
    done = cli("data", "check", *lists, "--recipe", sizes, "--out", tmp_path / "seen.png", "--json")
    assert done.code == 1, done.err
    found = json.loads(done.out)
    assert len(wrong) >= 20
    named = [
        [
            one
            for one in found["faults"]
            if one["kind"] == kind and one["where"].endswith(where) and words in one["text"]
        ]
        for kind, where, words in wrong
    ]
    assert [fault for fault, ones in zip(wrong, named, strict=True) if len(ones) != 1] == []
    assert len(found["faults"]) == len(wrong), [one for one in found["faults"] if [one] not in named]
    assert found["lists"]["train"]["videos"] == len(train)
    assert found["lists"]["train"]["usable"] == 6
    assert Path(found["picture"]).is_file()
    # In words, too: a line each, the same.
    printed = cli("data", "check", *lists, "--recipe", sizes, "--videos", "0").out.splitlines()
    assert [line for line in printed if line.startswith("fault: ")] == [
        f"fault: {one['where']}: {one['text']}" for one in found["faults"]
    ]
    assert printed[-1].startswith(f"{len(wrong)} faults")


def test_a_clean_list_passes_with_notes(cli: Cli, tmp_path: Path, sizes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    video(tmp_path / "a.mp4", 1)
    video(tmp_path / "brief.mp4", 2, frames=3)
    video(tmp_path / "long.mp4", 3, frames=12)
    write_video(tmp_path / "black.mp4", np.zeros((8, 36, 48, 3), dtype=np.uint8))
    folder(tmp_path / "f", 4)
    folder(tmp_path / "f", 5, "flow_x_{:05d}.jpg")
    rows = ["a.mp4,0,8,", "brief.mp4,1,3,", "long.mp4,0,8,", "black.mp4,1,,", "f,1,8,"]
    (tmp_path / "train.csv").write_text(HEADER + "\n".join(rows) + "\n")
    (tmp_path / "classes.txt").write_text("turn left\nturn right\n")
    done = cli("data", "check", "train.csv", "--recipe", sizes, "--json")
    assert done.code == 0, done.out
    report = json.loads(done.out)
    assert report["faults"] == []
    notes = Counter(one["kind"] for one in report["notes"])
    assert notes == {"short": 1, "unused_frames": 1, "still": 1, "other_images": 1}
    summary = report["lists"]["train"]
    assert (summary["files"], summary["folders"], summary["class_counts"]) == (4, 1, [2, 3])
    assert summary["frames"] == {"min": 3, "median": 8.0, "max": 8}
    assert summary["sizes"] == {"48×36": 5}
    # Four of the five videos with four rows each, of four frames and a column of text.
    with Image.open(tmp_path / report["picture"]) as sheet:
        assert sheet.size == (300 + 4 * 132, 34 + 4 * (4 * 132 + 12))
        assert np.array(sheet)[40:160, 310:420].std() > 30  # a frame, not white
    (tmp_path / "mirrored.yaml").write_text(SIZES.replace("flip: false", "flip: true"))
    done = cli("data", "check", "train.csv", "--recipe", "mirrored.yaml", "--videos", "0", "--depth", "all")
    assert done.code == 0
    assert "note: train.csv: 2 class names tell left from right (such as 'turn left')" in done.out
    assert done.out.endswith(f"no fault, {done.out.count('note: ')} notes\n")


def test_frames_that_are_too_small_and_every_frame(cli: Cli, tmp_path: Path) -> None:
    video(tmp_path / "a.mp4", 1)
    (folder(tmp_path / "f", 2) / "image_00003.jpg").write_bytes(b"no image")
    (tmp_path / "train.csv").write_text("path,label\na.mp4,0\nf,1\n")
    (tmp_path / "big.yaml").write_text(
        "data: {num_frames: 4, resize_short: 0}\nmodel: {frame_size: 64, num_classes: 0}"
    )
    done = cli("data", "check", tmp_path / "train.csv", "--recipe", tmp_path / "big.yaml", "--videos", "0", "--json")
    assert [one["kind"] for one in json.loads(done.out)["faults"]] == ["small", "small"]
    (tmp_path / "fit.yaml").write_text("data: {num_frames: 4}\nmodel: {frame_size: 32, num_classes: 0}")
    arguments = ["data", "check", tmp_path / "train.csv", "--recipe", tmp_path / "fit.yaml", "--videos", "0"]
    assert cli(*arguments).code == 0  # the clip is made of the frames 1, 3, 5 and 7
    done = cli(*arguments, "--depth", "all")
    assert done.code == 1
    assert "f: image_00003.jpg is not an image that decodes (8 bytes)" in done.out


TWO_SETS = """
data: {num_frames: 5}
model:
  glance: {name: small_glance, num_frames: 2}
  focus: {name: small_focus, num_frames: 3}
  frame_size: 32
  glance_size: 16
  patch_size: 16
  grid: 3
  num_classes: 0
stage2: {features: live}
stage3: {features: live}
"""


def test_f_g_and_f_l_look_at_sets_of_their_own(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check decodes and draws the clips of the loader: each set is spread over the whole video."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sets.yaml").write_text(TWO_SETS)
    # Of 8 frames the sets are 2, 6 and 1, 4, 6; five frames in one set would be 0, 2, 4, 5, 7.
    (folder(tmp_path / "first", 1) / "image_00001.jpg").write_bytes(b"no image")
    (folder(tmp_path / "second", 2) / "image_00002.jpg").write_bytes(b"no image")
    folder(tmp_path / "four", 3, frames=4)
    folder(tmp_path / "two", 4, frames=2)
    (tmp_path / "train.csv").write_text("path,label\nfirst,0\nfour,1\ntwo,0\n")
    drawn = []
    draw = loader_sheet._video
    monkeypatch.setattr(loader_sheet, "_video", lambda *given: drawn.append(given) or draw(*given))
    arguments = ["data", "check", "train.csv", "--recipe", "sets.yaml", "--workers", "0", "--json"]
    done = cli(*arguments)
    assert done.code == 0, done.out + done.err
    report = json.loads(done.out)
    # Four frames are fewer than five, but enough for each set.
    (short,) = report["notes"]
    assert (short["kind"], short["where"]) == ("short", "train.csv, line 4")
    assert "its 2 frames are fewer than the 3 of a clip's larger set" in short["text"]
    frames = {clips.index[place].path: evaluation.frames.tolist() for clips, place, _, evaluation, _ in drawn}
    assert frames["four"] == [1, 3, 0, 2, 3]
    with Image.open(tmp_path / report["picture"]) as sheet:
        assert sheet.width == 300 + 3 * 132
    (tmp_path / "train.csv").write_text("path,label\nsecond,0\nfour,1\n")
    assert [one["kind"] for one in json.loads(cli(*arguments).out)["faults"]] == ["unreadable"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "needs a list file"),
        (["nowhere.csv"], "there is no list file nowhere.csv"),
        (["nowhere.csv", "--format", "xml"], "invalid choice: 'xml'"),
        (["nowhere.csv", "--depth", "deep"], "invalid choice: 'deep'"),
    ],
)
def test_mistakes_on_the_command_line(cli: Cli, arguments: list[str], words: str) -> None:
    done = cli("data", "check", *arguments)
    assert done.code == 2
    assert words in done.err
    assert done.err.count("\n") == 1


def _square(number: int) -> int:
    if number == 3:
        import os

        os._exit(1)  # what a crash in a codec looks like from outside
    return number * number


def test_a_process_that_dies_takes_nobody_along() -> None:
    found = dict(run_in_processes(_square, list(range(8)), workers=2, seconds=60))
    assert found == {number: None if number == 3 else number * number for number in range(8)}


def _sleepy(number: int) -> int:
    time.sleep(60 if number in (1, 4) else 0)
    return number


def test_a_process_that_does_not_come_back_is_ended() -> None:
    begun = time.monotonic()
    # The start of a process counts, which takes more than a second when the lines that it runs are counted.
    found = dict(run_in_processes(_sleepy, list(range(6)), workers=2, seconds=3))
    assert found == {number: None if number in (1, 4) else number for number in range(6)}
    assert time.monotonic() - begun < 50
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("name", ["sheet", "sheet.yaml", "sheet.csv"])
def test_a_picture_of_no_known_kind_is_refused_before_videos_are_decoded(
    cli: Any, videos: Path, tmp_path: Path, name: str
) -> None:
    done = cli("data", "check", videos / "train.csv", "--out", tmp_path / name, "--workers", "0")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("adafocus: --out is ")
    assert name in done.err
    assert not (tmp_path / name).exists()
    assert cli("data", "check", videos / "train.csv", "--out", name, "--workers", "0", "--videos", "0").code == 0
