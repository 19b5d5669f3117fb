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
from adafocus_rl.experiments.bench import ppo, startup
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
from adafocus_rl.experiments.bench.synthetic import paper_bank
from adafocus_rl.experiments.export import onnx_files

Cli = Any

AIM = 5.0
"""Ratio to RecurrentPPO that is aimed at on two CPU cores."""


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


def test_a_share_of_the_work_is_scaled_to_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr(bench.time, "perf_counter", lambda: float(next(ticks)))
    monkeypatch.setattr(bench, "BUDGET", 0.0)
    device = torch.device("cpu")
    timing = bench.compare("x", ("a", int), ("b", int), device, steps=500, slow_share=0.25)
    assert (timing.fast_ms, timing.slow_ms, timing.ratio) == (1000, 4000, 4)
    assert (timing.per_second(timing.fast_ms), timing.per_second(timing.slow_ms)) == (500, 125)
    assert bench.compare("x", ("a", int), ("b", int), device).per_second(1.0) is None


@pytest.mark.slow
def test_training_stays_ahead_of_recurrent_ppo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At paper size with fewer videos; half of the aim, which a busy machine must not miss."""
    pytest.importorskip("sb3_contrib")
    monkeypatch.setattr(bench, "BUDGET", 0.0)
    monkeypatch.setattr(bench, "LEAST", 3)
    monkeypatch.setattr(ppo, "BATCH", 16)
    bank = paper_bank(tmp_path, videos=ppo.BATCH, device=torch.device("cpu"))
    assert ppo.against_sb3("RecurrentPPO", bank, bank).ratio > AIM / 2


@pytest.mark.slow
def test_all_of_them(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "BUDGET", 0.0)
    monkeypatch.setattr(bench, "LEAST", 1)
    monkeypatch.setattr(ppo, "BATCH", 2)
    done = cli("bench", "--json", "--device=cpu")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    names = [timing["name"] for timing in found["timings"]]
    assert names[:3] == ["crops", "rollout", "bank"]
    assert names[3:6] == ["counterfactuals"] * 3
    assert names[6:8] == ["ppo, 2 videos a batch"] * 2
    assert names[8:11] == ["ppo, live f_L", "ppo, bfloat16", "ppo, all positions as baseline"]
    assert names[11:17] == [f"decode, {case}" for case in ("H.264", "MPEG-4 in AVI", "frame folder") for _ in range(2)]
    sizes = ("demo, 1 video", "demo, 8 videos", "paper, 1 video")
    expected = [f"onnx, {size}" for size in sizes] if find_spec("onnx") else []
    assert names[17:] == [*expected, "single-env", *["startup"] * (len(startup.COMMANDS) + len(startup.SCRIPTS))]
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
