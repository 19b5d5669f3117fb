"""``stage2.precision`` reaches the agents that are trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from adafocus_rl.agents import PPOAgent, PPOOptions
from adafocus_rl.envs import PatchSelectionVectorEnv
from adafocus_rl.experiments.config.parser import parse_settings
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.training import stage2
from adafocus_rl.models.classifiers import GRUClassifier

Cli = Any
MadeUp = Any


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_is_that_of_the_training(
    recipe: Path, tmp_path: Path, made_up: MadeUp, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    settings = parse_settings("test", ["--config", str(recipe), f"--stage2.precision={precision}"])
    source = made_up()
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    env = PatchSelectionVectorEnv(source, classifier, num_envs=3)
    agent = PPOAgent(env, PPOOptions(reduced_channels=3, hidden=12))
    types: set[torch.dtype] = set()
    agent.network.actor.register_forward_hook(lambda module, inputs, output: types.add(output.dtype))

    class Trainer:
        def __init__(self, run: Run) -> None:
            pass

        def fit(self, step: str, learner: Any, **_: Any) -> float:
            learner.train_epoch(0, lambda *_, **__: None)
            return 0.0

    monkeypatch.setattr(stage2, "RunTrainer", Trainer)
    stage2.train_policy(Run(RunFolder(tmp_path), settings.config), agent, env, source)
    assert types == {getattr(torch, precision)}


def test_others_are_refused(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    done = cli("train", recipe, f"--out={tmp_path / 'run'}", "--stage2.precision=float16")
    assert done.code == 2
    assert "stage2.precision" in done.err
    assert "bfloat16" in done.err
