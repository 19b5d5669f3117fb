"""The benchmarks run, and compare what they say they compare."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adafocus_rl.data.decode import decode_frames, probe
from adafocus_rl.experiments.bench import startup
from adafocus_rl.experiments.bench import timing as bench
from adafocus_rl.experiments.bench.decode_loops import (
    clip_indices,
    made_avi,
    made_folder,
    made_video,
    opencv_loop,
    pillow_loop,
    pyav_loop,
)
from adafocus_rl.experiments.export import onnx_files

Cli = Any


def test_by_turns_and_the_warm_up_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    calls: list[str] = []

    def take(name: str, first: float, then: float) -> Any:
        def function() -> None:
            nonlocal clock
            clock += then if name in calls else first
            calls.append(name)

        return function

    monkeypatch.setattr(bench.time, "perf_counter", lambda: clock)
    monkeypatch.setattr(bench, "BUDGET", 60.0)
    timing = bench.compare("x", ("a", take("a", 50.0, 1.0)), ("b", take("b", 1.0, 3.0)), torch.device("cpu"))
    assert calls[:4] == ["a", "b", "a", "b"]
    # 51 seconds of warming up, then 4 each round: five rounds are the least.
    assert len(calls) == 12
    assert (timing.fast_ms, timing.slow_ms, timing.ratio) == (1000.0, 3000.0, 3.0)


@pytest.mark.slow
def test_all_of_them(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "BUDGET", 0.0)
    monkeypatch.setattr(bench, "LEAST", 1)
    done = cli("bench", "--json", "--device=cpu")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    names = [timing["name"] for timing in found["timings"]]
    assert names[:3] == ["crops", "rollout", "bank"]
    assert names[3:6] == ["counterfactuals"] * 3
    assert names[6:12] == [f"decode, {case}" for case in ("H.264", "MPEG-4 in AVI", "frame folder") for _ in range(2)]
    sizes = ("demo, 1 video", "demo, 8 videos", "paper, 1 video")
    expected = [f"onnx, {size}" for size in sizes] if find_spec("onnx") else []
    assert names[12:] == [*expected, "single-env", *["startup"] * (len(startup.COMMANDS) + len(startup.SCRIPTS))]
    assert all(timing["fast_ms"] > 0 and timing["ratio"] > 0 for timing in found["timings"])
    assert found["environment"]["threads"] >= 1
    assert found["device"] == "cpu"


def test_one_of_them_in_words(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "BUDGET", 0.0)
    monkeypatch.setattr(bench, "LEAST", 1)
    done = cli("bench", "rollout", "--device=cpu")
    assert done.code == 0
    assert done.out.startswith("rollout: rollout ")
    assert done.out.count("\n") == 1


def test_without_the_extra_onnx_is_left_out_with_a_sentence(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_files, "find_spec", lambda name: None)
    done = cli("bench", "onnx", "--device=cpu")
    assert (done.code, done.out, done.err.count("\n")) == (0, "", 1)
    assert "left out onnx: " in done.err
    assert "`pip install adafocus_rl[onnx]`" in done.err


def test_the_decoding_loops_read_the_same_frames(tmp_path: Path) -> None:
    video, avi, folder = tmp_path / "video.mp4", tmp_path / "video.avi", tmp_path / "frames"
    made_video(video)
    made_avi(avi, video)
    made_folder(folder, video)
    assert (probe(video).video_frames, probe(folder).video_frames) == (300, 300)
    wanted = clip_indices()
    assert wanted[:2] == [9, 28]
    ours = decode_frames(video, wanted)
    assert ours.shape == (16, 240, 320, 3)
    assert np.array_equal(ours, pyav_loop(video, wanted))
    # Another FFmpeg, whose rounding of colours is its own.
    assert np.abs(ours.astype(int) - opencv_loop(video, wanted)).mean() < 2
    assert np.array_equal(decode_frames(avi, wanted), pyav_loop(avi, wanted))
    stored = decode_frames(folder, wanted)
    assert np.abs(ours.astype(int) - stored).mean() < 4
    assert np.abs(stored.astype(int) - pillow_loop(folder, wanted)).mean() < 1
