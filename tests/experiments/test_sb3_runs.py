"""Stable-Baselines3's algorithms through the command line: trained, saved with the run, resumed and evaluated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adafocus_rl import checkpoint
from adafocus_rl.agents.sb3.options import Algorithm

Cli = Any
Look = Any


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["PPO", "A2C", "RecurrentPPO"])
def test_an_algorithm_is_trained_and_evaluated(
    cli: Cli, recipe: Path, run: Path, look: Look, algorithm: Algorithm
) -> None:
    if algorithm == "RecurrentPPO":
        pytest.importorskip("sb3_contrib", reason="the extra sb3 is not installed")
    options = [
        "--agent=SB3Agent", f"--agent.algorithm={algorithm}", "--agent.hidden=8", "--agent.reduced_channels=2",
        '--agent.options={"ent_coef": 0.02}',
    ]  # fmt: skip
    done = cli("train", recipe, "--out", run, "--stages", "2", *options, "--stage2.epochs=2")
    assert done.code == 0, done.err
    _, manifest = checkpoint.load(run / "checkpoints" / "stage2.safetensors")
    assert manifest["agent"] == "SB3Agent"
    assert manifest["options"]["algorithm"] == algorithm
    assert manifest["options"]["options"] == {"ent_coef": 0.02}
    label = f"sb3_{algorithm.lower()}"
    trained = [row for row in look.results(run)["rows"] if row["agent"] == label]
    assert len(trained) == 1
    curve = [line for line in look.metrics(run) if line["stage"] == "stage2"]
    assert [line["epoch"] for line in curve] == [1, 2]
    assert all("train/value_loss" in line and "rollout/ep_rew_mean" in line for line in curve)
    done = cli("evaluate", run, "--agent", "SB3Agent", "--json")
    assert done.code == 0, done.err
    assert [row["top1"] for row in json.loads(done.out)["rows"]][:1] == [trained[0]["top1"]]


def test_an_option_that_there_is_not(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    done = cli("train", recipe, "--out", tmp_path / "run", "--agent=SB3Agent", "--agent.algorithm=DQN")
    assert done.code == 2
    assert "DQN" in done.err
    assert len(done.err.strip().splitlines()) == 1
