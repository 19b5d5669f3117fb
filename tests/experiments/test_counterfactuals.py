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
        assert env.problem._products is not None
        assert {*env.problem._products.fits.values()} == {free > 0}
        return env.counterfactuals(env.rollout(RandomAgent(env), episodes=episodes)).reward

    kept = rewards(1 << 40)
    assert float(kept.abs().max()) > 1e-4
    torch.testing.assert_close(kept, rewards(0), rtol=1e-4, atol=1e-6)

    monkeypatch.setattr("adafocus_rl.envs.projection.free_memory", lambda device: 1 << 40)
    env = run.env(source, recognizer.classifier)
    rollout = env.rollout(RandomAgent(env), episodes=episodes)
    env.counterfactuals(rollout)
    products = env.problem._products
    assert products is not None
    assert {*products._tables} == {"vector", "local"}
    with torch.no_grad():
        for parameter in env.classifier.parameters():
            parameter.mul_(2)
    changed = env.counterfactuals(env.rollout(RandomAgent(env), episodes=episodes)).reward
    torch.testing.assert_close(changed, rewards(0), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(changed, kept)
    # Copies, pickled ones as well, compute the products again instead of carrying them.
    assert not copy.deepcopy(products)._tables
