"""Outcomes of all actions on a run's feature bank."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from adafocus_rl.agents import RandomAgent
from adafocus_rl.experiments.config.parser import parse_settings
from adafocus_rl.experiments.run.features import RunFeatures
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.run import Run


@pytest.mark.parametrize("classifier", ["gru", "average", "max_pool"])
def test_products_computed_once_equal_those_of_each_batch(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classifier: str
) -> None:
    """In memory, without memory, and again after f_C has changed."""
    settings = parse_settings("test", ["--config", str(recipe), f"--model.classifier.name={classifier}"])
    run = Run(RunFolder(tmp_path), settings.config)
    recognizer = run.new_recognizer().eval()
    source = RunFeatures(run, recognizer).training("bank")
    episodes = source.episodes(source.videos[[3, 0, 1]])

    def rewards(free: int) -> torch.Tensor:
        monkeypatch.setattr("adafocus_rl.envs.projection.free_memory", lambda device: free)
        env = run.env(source, recognizer.classifier)
        assert env.problem._projection is not None
        assert env.problem._projection.fits == (free > 0)
        return env.counterfactuals(env.rollout(RandomAgent(env), episodes=episodes)).reward

    kept = rewards(1 << 40)
    assert float(kept.abs().max()) > 1e-4
    torch.testing.assert_close(kept, rewards(0), rtol=1e-4, atol=1e-6)

    monkeypatch.setattr("adafocus_rl.envs.projection.free_memory", lambda device: 1 << 40)
    env = run.env(source, recognizer.classifier)
    rollout = env.rollout(RandomAgent(env), episodes=episodes)
    env.counterfactuals(rollout)
    projection = env.problem._projection
    assert projection is not None
    assert projection._table is not None
    with torch.no_grad():
        for parameter in env.classifier.parameters():
            parameter.mul_(2)
    changed = env.counterfactuals(env.rollout(RandomAgent(env), episodes=episodes)).reward
    torch.testing.assert_close(changed, rewards(0), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(changed, kept)
    # Copies, pickled ones as well, compute the products again instead of carrying them.
    assert copy.deepcopy(projection)._table is None
