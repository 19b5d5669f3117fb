"""Agents learn on a GPU, and what they have learnt goes with them to another device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from adafocus_rl.agents import AGENTS, Agent, PPOAgent, PPOOptions, SB3Agent, SB3Options
from adafocus_rl.envs import FindThePatchVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.models.classifiers import GRUClassifier

pytestmark = pytest.mark.gpu

MadeUp = Any


def _return(env: FindThePatchVectorEnv, agent: Any) -> float:
    episodes = env.source.episodes(env.source.videos)
    return float(env.rollout(agent, episodes=episodes, deterministic=True).reward.sum(1).mean())


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_ppo_solves_the_debug_environment(cuda: torch.device, cell: Any) -> None:
    env = FindThePatchVectorEnv(num_envs=32, memory=True, device=cuda)
    agent = PPOAgent(
        env, PPOOptions(cell=cell, hidden=64, reduced_channels=8, learning_rate=3e-3, n_epochs=4, gae_lambda=0.9)
    )
    agent.learn(env, epochs=6)
    assert {parameter.device.type for parameter in agent.network.parameters()} == {cuda.type}
    assert _return(env, agent) > 0.99 * env.best_return


def test_stable_baselines_solves_the_debug_environment(cuda: torch.device) -> None:
    env = FindThePatchVectorEnv(num_envs=32, grid=2, num_frames=3, videos_per_patch=64, device=cuda)
    agent = SB3Agent(env, SB3Options(hidden=32, reduced_channels=4, learning_rate=5e-3, options={"batch_size": 96}))
    agent.learn(env, epochs=2)
    assert _return(env, agent) > 0.99 * env.best_return


@pytest.mark.parametrize("name", AGENTS.names())
def test_an_agent_goes_from_the_gpu_to_the_cpu(made_up: MadeUp, tmp_path: Path, cuda: torch.device, name: str) -> None:
    def env(device: str | torch.device) -> PatchSelectionVectorEnv:
        source = made_up(device=str(device))
        boxes = torch.rand(*source.true_boxes.shape, generator=torch.Generator().manual_seed(0)) * 8
        source.true_boxes, source.has_boxes = boxes.to(device), True
        torch.manual_seed(0)
        classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8).to(device)
        return PatchSelectionVectorEnv(source, classifier, num_envs=4)

    there, here = env(cuda), env("cpu")
    agent = AGENTS.get(name)(there, seed=3)
    agent.learn(there, epochs=1)
    agent.save(tmp_path / "agent.safetensors")
    loaded = Agent.load(tmp_path / "agent.safetensors", here)
    before, after = (
        one.rollout(who, episodes=one.source.episodes(torch.arange(7)), deterministic=True)
        for one, who in ((there, agent), (here, loaded))
    )
    torch.testing.assert_close(after.output.action, before.output.action.cpu(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after.logits, before.logits.cpu(), rtol=1e-3, atol=1e-4)
