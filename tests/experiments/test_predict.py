"""One video from a file: the same as in evaluation, whatever it comes as; bad ones are named."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image

from adafocus_rl.agents import MostConfidentAgent
from adafocus_rl.data.decode import decode_frames, probe
from adafocus_rl.data.encode import write_video
from adafocus_rl.envs.render import CHOSEN_COLOR, OUTSIDE_BRIGHTNESS
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.gym_entry import open_features
from adafocus_rl.experiments.predict import PredictionError, Predictor
from adafocus_rl.experiments.run.handover import load_classifier
from adafocus_rl.record import FINE_TUNED, EpisodeRecord

Cli = Any


@pytest.fixture(scope="module")
def root(recipe: Path, finished: Path) -> Path:
    """Where the tiny validation videos lie."""
    return Path(yaml.safe_load(recipe.read_text())["data"]["root"])


@pytest.fixture(scope="module")
def predictor(finished: Path) -> Predictor:
    return Predictor.load(finished)


def test_a_file_is_recognised_as_in_evaluation(finished: Path, root: Path, predictor: Predictor) -> None:
    record = EpisodeRecord.load(finished / "episodes.safetensors")
    trace = next(trace for trace in record.last_traces() if trace.name == "ppo")
    rows = {row["agent"]: row for row in json.loads((finished / "results.json").read_text())["rows"]}
    for place in range(3):
        found = predictor.predict(root / record.paths[place])
        assert torch.equal(found.boxes, trace.boxes[place])
        assert found.kept.all()
        (label, confidence), *others = found.top()
        assert label == record.class_names[int(trace.last_predicted[place])]
        # The bank keeps features in half precision.
        assert confidence == pytest.approx(float(trace.confidence[place, -1]), abs=0.01)
        assert [share for _, share in others] == sorted((share for _, share in others), reverse=True)
        assert len(others) == 4
        assert float(found.probabilities.sum()) == pytest.approx(1, abs=1e-5)
        assert found.gmacs == pytest.approx(rows["ppo"]["gmacs_per_video"], rel=1e-9)
        assert found.full_frame_gmacs == pytest.approx(rows["full_frame"]["gmacs_per_video"], rel=1e-9)
        # Eight frames, four of them in the middle of four segments.
        assert found.frames.tolist() == [1, 3, 5, 7]
        assert found.ms > 0


def test_an_oracle_reads_the_features_of_the_video(finished: Path, root: Path) -> None:
    """Not those of the run's own videos, which it was made on."""
    predictor = Predictor.load(finished, agent="MostConfidentAgent")
    opened = open_features(finished, split="val", features="live")
    env = opened.run.env(opened.source, load_classifier(opened.run, "stage3", opened.recognizer.classifier)[0])
    rollout = env.rollout(MostConfidentAgent(env), episodes=env.source.episodes(torch.arange(3)))
    for place in range(3):
        found = predictor.predict(root / "val" / f"{place:05d}.mp4")
        assert torch.equal(found.boxes, env.chosen_boxes(rollout)[place])
    assert found.gmacs > predictor.predict(root / "val" / "00000.mp4").full_frame_gmacs


def test_a_folder_of_frames_and_frames_in_memory_are_the_same_video(
    root: Path, predictor: Predictor, tmp_path: Path
) -> None:
    path = root / "val" / "00001.mp4"
    frames = decode_frames(path, range(probe(path).video_frames))
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    expected = predictor.predict(path)
    for found in (predictor.predict(tmp_path), predictor.predict_frames(frames)):
        assert torch.equal(found.boxes, expected.boxes)
        assert torch.allclose(found.probabilities, expected.probabilities)
        assert found.frames.tolist() == expected.frames.tolist()
    with pytest.raises(PredictionError, match="no frames"):
        predictor.predict_frames(frames[:0])


def test_the_run_s_own_videos_are_not_needed(
    cli: Cli, recipe: Path, videos: Path, run: Path, root: Path, tmp_path: Path
) -> None:
    settings = yaml.safe_load((run / "config.yaml").read_text())
    gone = str(tmp_path / "gone.csv")
    settings["data"] |= {"embedded": None, "root": None, "train_list": gone, "val_list": gone}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    before = cli("predict", run, root / "val" / "00000.mp4", "--json")
    assert before.code == 0, before.err
    # Names of classes come from the record; without it they are numbers, which these are, too.
    (run / "episodes.safetensors").unlink()
    after = cli("predict", run, root / "val" / "00000.mp4", "--json")
    tops = [json.loads(done.out)["videos"][0]["top"] for done in (before, after)]
    assert tops[0] == tops[1]


def test_json_and_the_exit_code_of_bad_videos(cli: Cli, finished: Path, root: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    good = root / "val" / "00000.mp4"
    done = cli("predict", finished, good, "nowhere.mp4", tmp_path / "text.mp4", "--json", "--top", "2")
    assert done.code == 1
    content = json.loads(done.out)
    assert set(content) == {"videos", "failed", "full_frame_ms"}
    (video,) = content["videos"]
    assert set(video) == {
        "path", "top", "boxes", "height", "width", "stored_boxes", "kept", "frames", "gmacs", "full_frame_gmacs", "ms",
    }  # fmt: skip
    assert video["path"] == str(good)
    assert [set(entry) for entry in video["top"]] == [{"label", "confidence"}] * 2
    assert [one["path"] for one in content["failed"]] == ["nowhere.mp4", str(tmp_path / "text.mp4")]
    assert content["failed"][0]["reason"] == "no such file or folder"
    assert "not a video" in content["failed"][1]["reason"]
    assert "2 of 3 videos could not be recognised" in done.err


def test_people_read_it_and_films_are_drawn(
    cli: Cli, finished: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two videos of one name are two films."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").mkdir()
    shutil.copy(root / "val" / "00000.mp4", tmp_path / "b" / "00000.mp4")
    first = root / "val" / "00000.mp4"
    done = cli("predict", finished, first, "b/00000.mp4", "--out", "drawn", "--probabilities")
    assert done.code == 0, done.err
    assert done.out.count("f_L looked at all of 4 frames") == 2
    # The time of one run is not beside a median: what is compared was measured in the same way, on the first video.
    spent = r"4 frames: [0-9.]+ GMACs in [0-9.]+ ms; f_L on whole frames: [0-9.]+ GMACs$"
    assert len(re.findall(spent, done.out, re.M)) == 2
    assert re.fullmatch(
        r"Time of the first video, medians of 3 runs in turns: ppo [0-9.]+ ms, f_L on whole frames [0-9.]+ ms\.",
        done.out.splitlines()[-1],
    )
    films = sorted((tmp_path / "drawn").iterdir())
    assert [path.name for path in films] == ["00000.1.mp4", "00000.mp4"]
    # Four sampled frames, and a second's rest.
    assert [probe(path).video_frames for path in films] == [7, 7]


def test_a_picture_of_one_video(cli: Cli, finished: Path, root: Path, tmp_path: Path) -> None:
    video = root / "val" / "00000.mp4"
    assert cli("predict", finished, video, "--out", tmp_path / "deep" / "one.png").code == 0
    with Image.open(tmp_path / "deep" / "one.png") as picture:
        assert picture.width > 4 * 128
    done = cli("predict", finished, video, "--out", tmp_path / "one.avi")
    assert done.code == 2
    assert "one.avi; give a folder, or a file that ends in .mp4 or .gif or .png" in done.err
    assert not (tmp_path / "one.avi").exists()
    done = cli("predict", finished, video, video, "--out", tmp_path / "two.png")
    assert done.code == 2
    assert "give a folder" in done.err


class Webcam:
    """What OpenCV gives for a webcam that sees a white square for twelve frames."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.left = 12

    def isOpened(self) -> bool:
        return self.number == 0

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        self.left -= 1
        frame = np.zeros((48, 64, 3), dtype=np.uint8)
        frame[8:20, 10:22] = (0, 0, 255)
        return (True, frame) if self.left >= 0 else (False, None)

    def release(self) -> None:
        pass


def test_a_webcam(cli: Cli, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Webcam)
    done = cli("predict", finished, "0", "--seconds", "0.5", "--json")
    assert done.code == 0, done.err
    (video,) = json.loads(done.out)["videos"]
    assert video["path"] == "webcam 0"
    # Twelve frames in four segments.
    assert video["frames"] == [1, 4, 7, 10]
    done = cli("predict", finished, "3")
    assert done.code == 1
    assert "there is no webcam 3" in done.err
    for name in ("²", "٣", "99999999999", "5" * 5000):
        done = cli("predict", finished, name)
        assert done.code == 1
        assert "webcam" not in done.err.splitlines()[0]
    assert cli("predict", finished, "0", "--seconds=61").code == 2


def test_a_webcam_s_colors_are_in_order(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from adafocus_rl.data.webcam import record

    monkeypatch.setattr(cv2, "VideoCapture", Webcam)
    frames = record(0, 1.0).frames
    assert frames.shape == (12, 48, 64, 3)
    assert frames[0, 10, 12].tolist() == [255, 0, 0]


def test_agents_that_know_too_much_are_refused(cli: Cli, finished: Path, root: Path) -> None:
    video = root / "val" / "00000.mp4"
    done = cli("predict", finished, video, "--agent", "OracleAgent")
    assert done.code == 2
    assert "nobody knows of a new video" in done.err
    done = cli("predict", finished, video, "--agent", "CenterAgent", "--json")
    # On a frame of side 32, the middle one of 3×3 patches of side 16.
    assert json.loads(done.out)["videos"][0]["boxes"] == [[8, 8, 16, 16]] * 4
    done = cli("predict", finished, video, "--knob", "0.1")
    assert done.code == 2
    assert "no π′ with λ = 0.1; it has none" in done.err


def test_skipped_frames_cost_less_and_are_said(cli: Cli, recipe: Path, run: Path, root: Path, tmp_path: Path) -> None:
    options = ["--skip.lambdas=[0.1,10]", "--skip.epochs=1"]
    done = cli("train", recipe, "--out", run, "--stages", "2", "3", *options)
    assert done.code == 0, done.err
    record = EpisodeRecord.load(run / "episodes.safetensors")
    traces = {trace.title: trace for trace in record.last_traces()}
    trace = traces["ppo+skip at 10, fine-tuned"]
    costs = {bool(kept): int(macs) for kept, macs in zip(trace.kept.flatten(), trace.macs.flatten(), strict=True)}
    rows = json.loads((run / "results.json").read_text())["rows"]
    row = next(row for row in rows if row["agent"] == "ppo+skip" and row["knob"] == 10 and row["variant"] == FINE_TUNED)
    assert float(trace.kept.float().mean()) == pytest.approx(row["kept"])
    assert trace.macs.sum(1).double().mean() / 1e9 == pytest.approx(row["gmacs_per_video"], rel=1e-9)
    done = cli("predict", run, root / "val" / "00000.mp4", "--knob", "10", "--json")
    assert done.code == 0, done.err
    (video,) = json.loads(done.out)["videos"]
    assert video["kept"] == trace.kept[0].tolist()
    assert video["boxes"] == trace.boxes[0].tolist()
    assert video["gmacs"] == pytest.approx(int(trace.macs[0].sum()) / 1e9, rel=1e-9)
    assert len(costs) == 1 or costs[False] < costs[True]


def test_other_sizes_and_codecs(predictor: Predictor, tmp_path: Path) -> None:
    wide = np.random.default_rng(0).integers(0, 256, (9, 60, 100, 3), dtype=np.uint8)
    write_video(tmp_path / "wide.mp4", wide)
    found = predictor.predict(tmp_path / "wide.mp4")
    assert found.boxes.min() >= 0
    assert int((found.boxes[:, 0] + found.boxes[:, 2]).max()) <= 32
    small = np.zeros((9, 20, 20, 3), dtype=np.uint8)
    write_video(tmp_path / "small.mp4", small)
    # This run resizes nothing.
    with pytest.raises(PredictionError, match="smaller than frame_size"):
        predictor.predict(tmp_path / "small.mp4")


def test_patches_are_given_and_drawn_in_the_video_s_own_pixels(cli: Cli, run: Path, tmp_path: Path) -> None:
    """The frames of 60×100 pixels are resized to 40×66, of which 32×32 are cropped at (4, 17)."""
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings["data"]["resize_short"] = 40
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    path, picture, film = (tmp_path / name for name in ("wide.mp4", "wide.png", "film.mp4"))
    blocks = np.random.default_rng(0).integers(0, 200, (9, 15, 25, 3), dtype=np.uint8)
    write_video(path, blocks.repeat(4, axis=1).repeat(4, axis=2))
    done = cli("predict", run, path, "--json", "--out", picture)
    assert done.code == 0, done.err
    (video,) = json.loads(done.out)["videos"]
    assert (video["height"], video["width"]) == (60, 100)
    rows, columns = 60 / 40, 100 / 66
    expected = [[(y + 4) * rows, (x + 17) * columns, 16 * rows, 16 * columns] for y, x, _, _ in video["boxes"]]
    assert np.allclose(video["stored_boxes"], expected, rtol=0, atol=1e-12)

    # The picture has whole frames twice as large, 204 apart; the last ends the row.
    with Image.open(picture) as opened:
        pixels = np.asarray(opened.convert("RGB")).astype(int)
    stored = decode_frames(path, video["frames"])
    crop = np.array([4 * rows, 17 * columns, 32 * rows, 32 * columns])
    outside = np.ones((60, 100), dtype=bool)
    outside[round(crop[0]) : round(crop[0] + crop[2]), round(crop[1]) : round(crop[1] + crop[3])] = False
    for step, (frame, box) in enumerate(zip(stored, expected, strict=True)):
        left = pixels.shape[1] - (4 - step) * 204
        drawn = pixels[30 : 30 + 120, left : left + 200]
        orange = (drawn == CHOSEN_COLOR).all(-1).nonzero()
        corners = [orange[0].min(), orange[1].min(), orange[0].max() + 1, orange[1].max() + 1]
        edges = np.array([box[0], box[1], box[0] + box[2], box[1] + box[3]])
        assert np.abs(np.array(corners) - 2 * edges).max() <= 1
        assert np.array_equal(drawn[::2, ::2][outside], (frame[outside] * OUTSIDE_BRIGHTNESS).round())

    done = cli("predict", run, path, "--out", film)
    assert "patches of 24×24 pixels, by frame, (top, left): 1: ({:.0f}, {:.0f})".format(*expected[0][:2]) in done.out
    # Five times as large, and three lines of text.
    assert probe(film).width == 500 + 4


def test_a_run_without_stage_1_is_refused(run: Path) -> None:
    (run / "checkpoints" / "stage1.safetensors").unlink()
    with pytest.raises(UserError, match="run stage 1 first"):
        Predictor.load(run)
