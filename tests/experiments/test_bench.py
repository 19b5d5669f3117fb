"""The benchmarks run, and compare what they say they compare."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from adafocus_rl.experiments import bench

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
    # 51 seconds of warming up, then 4 each round: three rounds are the least.
    assert len(calls) == 8
    assert (timing.fast_ms, timing.slow_ms, timing.ratio) == (1000.0, 3000.0, 3.0)


@pytest.mark.slow
def test_all_of_them(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "BUDGET", 0.0)
    done = cli("bench", "--json", "--device=cpu")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [timing["name"] for timing in found["timings"]] == ["crops", "rollout", "bank"]
    assert all(timing["fast_ms"] > 0 and timing["ratio"] > 0 for timing in found["timings"])
    assert found["environment"]["threads"] >= 1
    assert found["device"] == "cpu"


def test_one_of_them_in_words(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "BUDGET", 0.0)
    done = cli("bench", "rollout", "--device=cpu")
    assert done.code == 0
    assert done.out.startswith("rollout: rollout ")
    assert done.out.count("\n") == 1
