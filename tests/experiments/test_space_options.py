"""The options of `env` that say what is observed and chosen, from the command line to the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from adafocus_rl.envs import SpaceConfig
from adafocus_rl.experiments.gym_entry import make_patch_selection_vec

Cli = Any
Look = Any


@pytest.mark.slow
def test_stages_two_and_three_with_continuous_actions(cli: Cli, recipe: Path, run: Path, look: Look) -> None:
    before = look.checkpoints(run)
    options = {"action_space": "continuous", "observation": "vector", "last_action": True, "time_step": True}
    done = cli(
        "train", recipe, "--out", run, "--stages", "2", "3", "--stage2.features=live", "--stage3.features=live",
        *(f"--env.{name}={str(value).lower() if value is True else value}" for name, value in options.items()),
    )  # fmt: skip
    assert done.code == 0, done.err
    rows = look.results(run)["rows"]
    assert {row["agent"] for row in rows} == {"ppo", "random", "center", "gaussian", "oracle", "full_frame"}
    assert (run / "patches.png").stat().st_size > 0
    after = look.checkpoints(run)
    assert after["stage1.safetensors"] == before["stage1.safetensors"]
    assert after["stage2.safetensors"] != before["stage2.safetensors"]
    # And the run remembers its decision problem.
    env = make_patch_selection_vec(run=run, num_envs=2, features="live")
    assert env.space_config == SpaceConfig(**options)
    observation, _ = env.reset()
    assert observation.keys() == {"features", "last_action", "time_step"}
    assert env.step(torch.tensor([[0.1, 0.9], [1.0, 0.0]]))[1].shape == (2,)


@pytest.mark.parametrize("stage", ["stage2", "stage3"])
def test_continuous_actions_need_live_features(cli: Cli, recipe: Path, tmp_path: Path, stage: str) -> None:
    other = "stage3" if stage == "stage2" else "stage2"
    options = ["--env.action_space=continuous", f"--{other}.features=live"]
    done = cli("train", recipe, "--out", tmp_path / "run", *options)
    assert done.code == 2
    assert f"env.action_space is continuous, but {stage}.features is 'bank'" in done.err
    assert f"give {stage}.features=live" in done.err
    assert not (tmp_path / "run").exists()


def test_unknown_kinds_are_refused_at_once(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    done = cli("train", recipe, "--out", tmp_path / "run", "--env.action_space=polar")
    assert done.code == 2
    assert "env.action_space is polar; expected one of 'grid', 'continuous'" in done.err
