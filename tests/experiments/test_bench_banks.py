"""The benchmarks of banks run."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from adafocus_rl.experiments.bench import bank_build, bank_read
from adafocus_rl.experiments.bench import timing as bench
from adafocus_rl.models import EncoderConfig, ModelConfig

Cli = Any


@pytest.mark.slow
def test_a_bank_is_built_and_read(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "BUDGET", 0.0)
    monkeypatch.setattr(bench, "LEAST", 1)
    monkeypatch.setattr(bank_read, "SIZES", (3, 2))
    monkeypatch.setattr(bank_build, "ON_CPU", dataclasses.replace(bank_build.ON_CPU, frames=1))
    small = ModelConfig(glance=EncoderConfig(name="small_glance"), focus=EncoderConfig(name="small_focus"))
    monkeypatch.setattr(bank_build, "MODEL", small)
    done = cli("bench", "bank-build", "bank-read", "--json", "--device=cpu")
    assert done.code == 0, done.err
    timings = json.loads(done.out)["timings"]
    assert [timing["name"] for timing in timings] == [
        *(
            f"bank-build, {precision}, {kind}, 49 patches"
            for kind in ("H.264", "JPEG folders")
            for precision in ("float32", "bfloat16")
        ),
        "bank-read, reading alone",
        "bank-read, with PPO",
    ]
    assert {(timing["fast"], timing["slow"]) for timing in timings} == {
        ("build", "f_L alone"),
        ("mapped", "resident"),
    }
