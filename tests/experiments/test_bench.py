"""The benchmarks run, and compare what they say they compare."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adafocus_rl.agents import PPOAgent
from adafocus_rl.agents.policies.networks import RecurrentActorCritic
from adafocus_rl.agents.ppo.options import PPOOptions
from adafocus_rl.data.decode import decode_frames, probe
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.bench import bank_build, bank_read, ppo, recognise, startup
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
from adafocus_rl.experiments.bench.recognise_loops import published_loop
from adafocus_rl.experiments.bench.synthetic import paper_bank
from adafocus_rl.experiments.config.experiment import AgentConfig, ExperimentConfig
from adafocus_rl.experiments.export import onnx_files
from adafocus_rl.models.config import ClassifierConfig, EncoderConfig

Cli = Any

PAPER_CONFIG = recognise.paper_config

RECORDED = 5.06
"""Ratio to RecurrentPPO on two CPU cores, as recorded in docs/benchmarks.md."""


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
    assert ppo.against_sb3("RecurrentPPO", bank, bank).ratio > RECORDED / 2


def _small_config() -> ExperimentConfig:
    """Return the paper's kind of networks, with less of everything."""
    config = PAPER_CONFIG()
    parts = {"glance": EncoderConfig(name="mobilenet_v2"), "focus": EncoderConfig(name="resnet18")}
    sizes: dict[str, Any] = {"frame_size": 64, "patch_size": 32, "grid": 3, "num_classes": 7}
    model = dataclasses.replace(config.model, classifier=ClassifierConfig(hidden=16), **parts, **sizes)
    agent = AgentConfig(name="PPOAgent", options=PPOOptions(hidden=16))
    return dataclasses.replace(config, model=model, agent=agent)


def _small_recognition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognise, "paper_config", _small_config)
    monkeypatch.setattr(recognise, "GLANCES", (64, 32))


def test_recognition_is_timed_in_all_its_forms(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "BUDGET", 0.0)
    monkeypatch.setattr(bench, "LEAST", 1)
    _small_recognition(monkeypatch)
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1000000000")
    done = cli("bench", "recognise", "--device=cpu", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["environment"]["allocator"]["MALLOC_MMAP_THRESHOLD_"] == "1000000000"
    deployed = [f"recognise, deployed {precision}" for precision in ("float32", "bfloat16")]
    assert [(one["name"], one["slow"]) for one in found["timings"]] == [
        *((f"recognise, plain, batch 1, glance {glance}", "f_L on whole frames") for glance in (64, 32)),
        *((f"{form}, batch 1, glance {side}", "f_L on whole frames") for form in deployed for side in (64, 32)),
        ("recognise, plain, batch 8, glance 64", "f_L on whole frames"),
        *((f"{form}, batch 8, glance {side}", "f_L on whole frames") for form in deployed for side in (64, 32)),
        (f"{deployed[0]}, batch 1, glance 64", "TSM+"),
        (f"{deployed[0]}, batch 1, glance 64", "the published loop"),
        (f"{deployed[1]}, batch 1, glance 64", "TSM+"),
        ("recognise with decoding, deployed float32, batch 1, glance 64", "f_L on whole frames"),
    ]
    for one in found["timings"]:
        assert one["fast_videos_per_s"] == pytest.approx(1000 / one["fast_ms"])
        assert one["slow_videos_per_s"] == pytest.approx(1000 / one["slow_ms"])


def test_milliseconds_are_per_video() -> None:
    rounds = [(8.0, 16.0), (4.0, 24.0), (16.0, 8.0)]
    timing = bench.VideoTiming.of_rounds(name="x", fast="a", slow="b", rounds=rounds, videos=4)
    assert (timing.fast_ms, timing.slow_ms, timing.ratio, timing.batch) == (2000.0, 4000.0, 2.0, 4)
    assert timing.text == "x: a 2000.00 ms (0.5 videos/s), b 4000.00 ms (0.25 videos/s), ratio 2.00"


@pytest.mark.parametrize("glance", [64, 48])
def test_the_published_loop_and_the_deployed_form_recognise_the_same(glance: int) -> None:
    system = recognise.System(_small_config(), glance, torch.device("cpu"))
    clips = system.clips(2)
    assert isinstance(system.agent, PPOAgent)
    assert isinstance(system.agent.network, RecurrentActorCritic)
    expected = published_loop(system.recognizer, system.agent.network)(clips)
    for treatment in (recognise.PLAIN, recognise.FLOAT32):
        torch.testing.assert_close(system.adaptive(treatment)(clips), expected, rtol=1e-3, atol=1e-4)
    plain, fast = (system.whole(treatment)(clips) for treatment in (recognise.PLAIN, recognise.FLOAT32))
    torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-4)


@pytest.mark.long
@pytest.mark.slow
def test_all_of_them(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "BUDGET", 0.0)
    monkeypatch.setattr(bench, "LEAST", 1)
    monkeypatch.setattr(ppo, "BATCH", 2)
    monkeypatch.setattr(bank_read, "SIZES", (3, 2))
    monkeypatch.setattr(bank_build, "ON_CPU", dataclasses.replace(bank_build.ON_CPU, frames=1))
    _small_recognition(monkeypatch)
    done = cli("bench", "--json", "--device=cpu")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    names = [timing["name"] for timing in found["timings"]]
    assert names[:3] == ["crops", "rollout", "bank"]
    assert [name.split(",")[0] for name in names[3:9]] == ["bank-read"] * 2 + ["bank-build"] * 4
    names = names[:3] + names[9:]
    assert names[3:6] == ["counterfactuals"] * 3
    assert names[6:8] == ["ppo, 2 videos a batch"] * 2
    assert names[8:11] == ["ppo, live f_L", "ppo, bfloat16", "ppo, all positions as baseline"]
    assert names[11:17] == [f"decode, {case}" for case in ("H.264", "MPEG-4 in AVI", "frame folder") for _ in range(2)]
    sizes = ("demo, 1 video", "demo, 8 videos", "paper, 1 video")
    expected = [f"onnx, {size}" for size in sizes] if find_spec("onnx") else []
    more = [*expected, "single-env", *["startup"] * (len(startup.COMMANDS) + len(startup.SCRIPTS))]
    assert names[17 : 17 + len(more)] == more
    assert all(name.startswith("recognise") for name in names[17 + len(more) :])
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


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_a_timing_is_printed_as_soon_as_it_is_measured(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    def timings(name: str, device: torch.device) -> Iterator[bench.Timing]:
        yield bench.timing(name, "ours", "other", [(1.0, 2.0)])
        raise UserError("no more")

    monkeypatch.setattr("adafocus_rl.experiments.cli.bench.timings_of", timings)
    done = cli("bench", "rollout", "--device=cpu", *arguments)
    assert done.code == 2
    line = "rollout: ours 1000.00 ms, other 2000.00 ms, ratio 2.00\n"
    assert (done.err if arguments else done.out).startswith(line)
    assert done.err.endswith("no more\n")


def test_without_the_extra_onnx_is_left_out_with_a_sentence(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_files, "find_spec", lambda name: None)
    done = cli("bench", "onnx", "--device=cpu")
    assert (done.code, done.out, done.err.count("\n")) == (0, "", 1)
    assert "left out onnx: " in done.err
    assert "needs onnx and onnxruntime, which are not installed; run pip install 'adafocus_rl[onnx]'" in done.err


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
