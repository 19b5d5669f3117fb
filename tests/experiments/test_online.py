"""Streams: a line for each frame, the same numbers as for the clip, and a quiet end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray

from adafocus_rl.data.decode import decode_frames
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.predict import Predictor

Cli = Any


@pytest.fixture(scope="module")
def video(recipe: Path) -> Path:
    """Eight frames; the clips of the tiny run have the frames 1, 3, 5, 7."""
    return Path(yaml.safe_load(recipe.read_text())["data"]["root"]) / "val" / "00000.mp4"


@pytest.fixture(scope="module")
def predictor(finished: Path) -> Predictor:
    return Predictor.load(finished)


class Webcam:
    """A camera that sees noise; after ``LEFT`` frames, Ctrl-C is pressed."""

    LEFT = 5

    def __init__(self, number: int) -> None:
        self.left = self.LEFT
        self.random = np.random.default_rng(0)

    def isOpened(self) -> bool:
        return True

    def read(self) -> tuple[bool, NDArray[np.uint8]]:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return True, self.random.integers(0, 256, (48, 64, 3), dtype=np.uint8)

    def release(self) -> None:
        pass


def test_the_frames_of_a_clip_one_by_one_are_recognised_as_the_clip(predictor: Predictor, video: Path) -> None:
    expected = predictor.predict(video)
    online = predictor.stream()
    for _ in range(2):
        found = [online.step(frame) for frame in decode_frames(video, expected.frames)]
        torch.testing.assert_close(found[-1].probabilities, expected.probabilities, rtol=1e-4, atol=1e-5)
        assert [list(one.box) for one in found] == expected.boxes.tolist()
        assert all(one.looked and one.side == 16 and not one.stopped for one in found)
        assert [one.frames for one in found] == [1, 2, 3, 4]
        assert found[-1].gmacs == pytest.approx(expected.gmacs, rel=1e-9)
        assert found[-1].label == expected.top(1)[0][0]
        online.reset()


def test_an_exit(predictor: Predictor, video: Path) -> None:
    frames = decode_frames(video, range(3))
    online = predictor.stream(exit_at=0.01)
    assert online.step(frames[0]).stopped
    with pytest.raises(UserError, match=r"the stream is over.*call reset\(\) first"):
        online.step(frames[1])
    online.reset()
    online.step(frames[1])
    with pytest.raises(UserError, match="the confidence to stop at is 0; give a number above 0"):
        predictor.stream(exit_at=0)
    with pytest.raises(ValueError, match="expected uint8"):
        predictor.stream().step(frames[0].astype(np.float32))  # type: ignore[arg-type]
    # This run resizes nothing.
    with pytest.raises(UserError, match="smaller than frame_size, 32"):
        predictor.stream().step(frames[0][:20])


def test_lines(cli: Cli, finished: Path, video: Path, predictor: Predictor) -> None:
    done = cli("predict", finished, video, "--online", "--every", "3", "--json", "--top", "2")
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["frame"] for line in lines] == [0, 3, 6]
    assert set(lines[0]) == {
            "frame", "seconds", "top", "box", "stored_box", "looked", "side", "gmacs", "ms", "stopped"
        }  # fmt: skip
    online = predictor.stream()
    for line, frame in zip(lines, decode_frames(video, [0, 3, 6]), strict=True):
        found = online.step(frame)
        assert line["box"] == list(found.box)
        assert line["stored_box"] == list(found.stored_box)
        assert line["top"][0] == {"label": found.label, "confidence": pytest.approx(found.confidence)}
    assert f"{video}: {found.label} with" in done.err
    assert "after 3 frames" in done.err
    done = cli("predict", finished, video, "--online", "--exit-at", "0.01")
    assert done.code == 0
    assert done.out.startswith("frame     0     0.00 s ")
    assert len(done.out.splitlines()) == 1
    assert "after 1 frame, stopped early" in done.err


def test_a_webcam_until_ctrl_c(cli: Cli, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Webcam)
    done = cli("predict", finished, "0", "--online", "--json")
    assert done.code == 0, done.err
    assert [json.loads(line)["frame"] for line in done.out.splitlines()] == [0, 1, 2, 3, 4]
    assert "webcam 0: " in done.err
    assert "after 5 frames" in done.err


def test_mistakes(cli: Cli, finished: Path, video: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    for arguments, message in (
        ([video, video], "there are 2 videos; give one"),
        ([video, "--out", "a.png"], "--online draws no pictures"),
        ([video, "--every", "0"], "--every is 0; give a number of frames, such as 5, or of seconds, such as 0.5s"),
        ([video, "--every", "nans"], "--every is nans; give"),
        ([video, "--exit-at", "1.5"], "--exit-at is 1.5; give a probability above 0, and at most 1"),
        ([video, "--agent", "MostConfidentAgent"], "tries the patches of whole clips"),
    ):
        done = cli("predict", finished, *arguments, "--online")
        assert done.code == 2, arguments
        assert message in " ".join(done.err.split())
    done = cli("predict", finished, video, "--every", "5")
    assert done.code == 2
    assert "add --online" in done.err
    done = cli("predict", finished, tmp_path / "text.mp4", "--online")
    assert done.code == 1
    assert "not a video" in done.err


@pytest.mark.skipif(os.name != "posix", reason="signals and pipes as on POSIX")
def test_a_closed_pipe_and_an_interrupt_end_it_quietly(finished: Path, tmp_path: Path) -> None:
    """The folder's frames are so many that neither process ends by itself."""
    one = tmp_path / "0.png"
    cv2.imwrite(str(one), np.zeros((32, 32, 3), dtype=np.uint8))
    for number in range(1, 20_000):
        (tmp_path / f"{number}.png").hardlink_to(one)
    command = [sys.executable, "-m", "adafocus_rl", "predict", str(finished), str(tmp_path), "--online", "--json"]
    for signalled in (False, True):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert json.loads(process.stdout.readline())["frame"] == 0  # at once, and not when a buffer is full
            if signalled:
                process.send_signal(signal.SIGINT)
                _, error = process.communicate()
            else:
                process.stdout.close()
                error = process.stderr.read()
        assert "Traceback" not in error
        assert process.returncode == (130 if signalled else 141)
