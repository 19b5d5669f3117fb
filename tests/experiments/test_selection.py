"""Selected frames and patches as data: what predict finds, in pixels and seconds of the stored video."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from adafocus_rl.data.decode import decode_frames
from adafocus_rl.data.encode import write_video
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.predict import PredictionError, Predictor
from adafocus_rl.experiments.selection import VERSION, most_important, select, select_in_video

Cli = Any
HEIGHT, WIDTH = 60, 100


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine frames of smooth noise, wider than high, ten a second."""
    path = tmp_path_factory.mktemp("wide") / "wide.mp4"
    small = np.random.default_rng(0).integers(0, 256, (9, HEIGHT // 4, WIDTH // 4, 3), dtype=np.uint8)
    write_video(path, small.repeat(4, axis=1).repeat(4, axis=2), fps=10)
    return path


@pytest.fixture(scope="module")
def predictor(finished: Path) -> Predictor:
    return Predictor.load(finished, probabilities=True)


def program(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """``adafocus ARGUMENTS…`` in a process of its own."""
    command = [sys.executable, "-m", "adafocus_rl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=folder)


def test_the_program_writes_frames_boxes_and_crops(
    finished: Path, predictor: Predictor, wide: Path, tmp_path: Path
) -> None:
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
    names = ["a/[x] ..é日.mp4", "b/[x] ..é日.mp4", "c/日本.mp4"]
    for name in names:
        shutil.copy(wide, tmp_path / name)
    (tmp_path / "text.mp4").write_text("no video")
    given = [names[0], "nowhere.mp4", names[1], "text.mp4", names[2]]
    done = program("select", finished, *given, "--out", "deep/selected.json", "--crops", "crops", folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert "left out nowhere.mp4: no such file or folder" in done.stderr
    assert "2 of 5 videos could not be recognised" in done.stderr
    content = json.loads((tmp_path / "deep" / "selected.json").read_text())
    assert {key: content[key] for key in ("version", "run", "method", "knob", "crops")} == {
        "version": VERSION, "run": str(finished), "method": "ppo", "knob": None, "crops": "crops",
    }  # fmt: skip
    assert content["classes"] == [str(digit) for digit in range(10)]
    assert [video["path"] for video in content["videos"]] == names
    assert [failed["path"] for failed in content["failed"]] == ["nowhere.mp4", "text.mp4"]
    assert "not a video" in content["failed"][1]["reason"]
    expected = predictor.predict(wide)
    for video in content["videos"]:
        assert (video["height"], video["width"]) == (HEIGHT, WIDTH)
        assert (video["label"], video["confidence"]) == expected.top(1)[0]
        assert [frame["frame"] for frame in video["frames"]] == expected.frames.tolist()
        for place, frame in enumerate(video["frames"]):
            assert frame["seconds"] == pytest.approx(frame["frame"] / 10)
            assert frame["looked"]
            # This run resizes nothing, and cuts 32×32 pixels from the middle.
            top, left, height, width = expected.boxes[place].tolist()
            assert frame["box"] == [top + (HEIGHT - 32) // 2, left + (WIDTH - 32) // 2, height, width]
            with Image.open(tmp_path / "crops" / frame["crop"]) as picture:
                patch = expected.clip[place, :, top : top + height, left : left + width]
                assert torch.equal(torch.from_numpy(np.array(picture)).permute(2, 0, 1), patch)
            assert 0 < frame["probability"] <= 1
            assert sum(frame["class_probabilities"]) == pytest.approx(1, abs=1e-5)
        assert video["frames"][-1]["class_probabilities"] == expected.probabilities.tolist()
        gained = sum(frame["gain"] for frame in video["frames"])
        assert gained == pytest.approx(video["confidence"] - 1 / 10, abs=1e-5)
    # Every crop is named, and nothing else is there; names sort as the frames do, and are ASCII.
    crops = [frame["crop"] for video in content["videos"] for frame in video["frames"]]
    files = sorted(path.relative_to(tmp_path / "crops").as_posix() for path in (tmp_path / "crops").rglob("*.png"))
    assert crops == files
    assert crops[0] == "000000_x_e/0000_frame_000001.png"
    assert {crop.split("/")[0] for crop in crops} == {"000000_x_e", "000002_x_e", "000004"}


def test_boxes_of_resized_frames(run: Path, wide: Path, tmp_path: Path) -> None:
    """The frame of 60×100 is resized to 40×66, of which 32×32 are cropped at (4, 17)."""
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings["data"]["resize_short"] = 40
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    predictor = Predictor.load(run)
    expected = predictor.predict(wide).boxes.tolist()
    video = select_in_video(predictor, wide, crops=tmp_path)
    stored = decode_frames(wide, [frame.frame for frame in video.frames])
    for frame, box, pixels in zip(video.frames, expected, stored, strict=True):
        top, left = (box[0] + 4) * 60 / 40, (box[1] + 17) * 100 / 66
        assert frame.box == pytest.approx((top, left, 16 * 60 / 40, 16 * 100 / 66), abs=1e-12)
        assert frame.crop is not None
        with Image.open(tmp_path / frame.crop) as picture:
            rows, columns = (slice(int(a), int(np.ceil(a + b))) for a, b in ((top, 24.0), (left, 16 * 100 / 66)))
            assert np.array_equal(np.array(picture), pixels[rows, columns])


def test_probabilities_are_those_of_the_patches(predictor: Predictor, finished: Path, wide: Path) -> None:
    video = select_in_video(predictor, wide)
    panel = predictor.predict(wide).shown.panels[0]
    assert panel.probabilities is not None
    grid = predictor.recognizer.grid
    position = grid.origin_position(panel.boxes[:, :2])
    chosen = panel.probabilities.gather(1, grid.action(position)[:, None])[:, 0]
    assert [frame.probability for frame in video.frames] == chosen.tolist()
    whole = select(Predictor.load(finished, method="WholeFrames"), [wide]).videos[0]
    assert {frame.probability for frame in whole.frames} == {None}
    assert {frame.box for frame in whole.frames} == {(14.0, 34.0, 32.0, 32.0)}


def test_skipped_frames_have_no_crop(cli: Cli, recipe: Path, run: Path, wide: Path, tmp_path: Path) -> None:
    done = cli("train", recipe, "--out", run, "--stages", "2", "3", "--skip.lambdas=[10]", "--skip.epochs=1")
    assert done.code == 0, done.err
    out = tmp_path / "selected.json"
    done = cli("select", run, wide, "--out", out, "--crops", tmp_path / "crops", "--knob", "10")
    assert done.code == 0, done.err
    content = json.loads(out.read_text())
    assert content["knob"] == 10
    frames = content["videos"][0]["frames"]
    assert [frame["looked"] for frame in frames] == Predictor.load(run, knob=10).predict(wide).kept.tolist()
    assert [frame["crop"] is not None for frame in frames] == [frame["looked"] for frame in frames]


def test_the_frames_that_mattered_most() -> None:
    numbers, looked = [1, 3, 5, 7], [True, False, True, True]
    gains = [0.1, 0.9, -0.2, 0.4]
    assert most_important(numbers, looked, gains, 1) == [3]
    assert most_important(numbers, looked, gains, 2) == [0, 3]
    assert most_important(numbers, looked, gains, 3) == [0, 2, 3]
    assert most_important(numbers, looked, gains, 9) == [0, 1, 2, 3]
    # Equal gains: the earlier; a repeated frame counts once.
    assert most_important([0, 1, 1, 1], [True] * 4, [0.0, 0.2, 0.3, 0.0], 2) == [0, 2]
    assert most_important(numbers, [True] * 4, [0.0] * 4, 2) == [0, 1]


def test_a_number_of_frames(cli: Cli, finished: Path, predictor: Predictor, wide: Path, tmp_path: Path) -> None:
    out, crops = tmp_path / "selected.json", tmp_path / "crops"
    done = cli("select", finished, wide, "--out", out, "--frames", "2", "--crops", crops)
    assert done.code == 0, done.err
    (video,) = json.loads(out.read_text())["videos"]
    every = select_in_video(predictor, wide).frames
    best = sorted(sorted(every, key=lambda frame: -frame.gain)[:2], key=lambda frame: frame.frame)
    assert [frame["frame"] for frame in video["frames"]] == [frame.frame for frame in best]
    assert len(list(crops.rglob("*.png"))) == 2


def test_a_folder_of_images_has_no_times(predictor: Predictor, wide: Path, tmp_path: Path) -> None:
    for number, frame in enumerate(decode_frames(wide, range(9))):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    found, expected = (select_in_video(predictor, path) for path in (tmp_path, wide))
    assert [frame.seconds for frame in found.frames] == [None] * 4
    assert [frame.box for frame in found.frames] == [frame.box for frame in expected.frames]


def test_bad_input_is_one_sentence(cli: Cli, finished: Path, predictor: Predictor, wide: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    out = tmp_path / "out.json"
    for options, said in (
        (["--out", full], "is a folder; give the JSON file"),
        (["--out", out, "--crops", full], "is not empty; give a new or an empty folder"),
        (["--out", out, "--crops", full / "mine.txt"], "is a file; give a new or an empty folder"),
        (["--out", out, "--frames", "0"], "--frames is 0; give at least 1"),
        (["--out", out, "--method", "Nothing"], "unknown method 'Nothing'"),
        (["--out", out, "--agent", "OracleAgent"], "nobody knows of a new video"),
        ([], "--out"),
    ):
        done = cli("select", finished, wide, *options)
        assert done.code == 2, done.err
        assert said in done.err
        assert done.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]
    with pytest.raises(UserError, match="give at least 1"):
        select(predictor, [wide], frames=0)
    with pytest.raises(PredictionError, match="no such file"):
        select_in_video(predictor, tmp_path / "nowhere.mp4")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_a_name_that_is_not_utf_8(cli: Cli, finished: Path, wide: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff\xfe.mp4")
    shutil.copy(wide, path)
    out = tmp_path / "selected.json"
    done = cli("select", finished, path, "--out", out, "--crops", tmp_path / "crops")
    assert done.code == 0, done.err
    (video,) = json.loads(out.read_text())["videos"]
    assert os.fsencode(video["path"]) == os.fsencode(path)
    assert [crop.name for crop in (tmp_path / "crops").iterdir()] == ["000000"]


class Webcam:
    """A camera that gives twelve frames, brighter and brighter."""

    def __init__(self, number: int) -> None:
        self.count = 0

    def isOpened(self) -> bool:
        return True

    def read(self) -> tuple[bool, Any]:
        self.count += 1
        return self.count <= 12, np.full((HEIGHT, WIDTH, 3), 10 * self.count, dtype=np.uint8)

    def release(self) -> None:
        pass


def test_a_webcam(cli: Cli, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Webcam)
    monkeypatch.chdir(tmp_path)
    done = cli("select", finished, "0", "--out", "selected.json", "--crops", "crops")
    assert done.code == 0, done.err
    (video,) = json.loads((tmp_path / "selected.json").read_text())["videos"]
    assert video["path"] == "webcam 0"
    assert (video["height"], video["width"]) == (HEIGHT, WIDTH)
    # Twelve frames in four segments.
    assert [frame["frame"] for frame in video["frames"]] == [1, 4, 7, 10]
    times = [frame["seconds"] for frame in video["frames"]]
    assert times == sorted(times)
    for frame in video["frames"]:
        with Image.open(tmp_path / "crops" / frame["crop"]) as crop:
            assert crop.getpixel((0, 0)) == (10 * (frame["frame"] + 1),) * 3
    assert cli("select", finished, "0", "--out", "a.json", "--seconds", "61").code == 2
    # Without seconds to record, a number is a path.
    with pytest.raises(PredictionError, match="no such file"):
        select_in_video(Predictor.load(finished), "0")
