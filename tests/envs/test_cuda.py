"""The decision problems on a GPU pay what they pay on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from adafocus_rl.envs import (
    FrameSkippingVectorEnv,
    Info,
    PatchSelectionVectorEnv,
    PolicyOutput,
    RewardConfig,
    Rollout,
    to_numpy,
)
from adafocus_rl.models.classifiers import GRUClassifier

pytestmark = pytest.mark.gpu

MadeUp = Any
CASES = [("random", 1), ("random", 3), ("random", 0), ("padding", 1), ("increment", 1), ("confidence", 1)]


class Scripted:
    """Actions that are a function of the episode."""

    def __init__(self, actions: int) -> None:
        self.actions = actions

    def act(self, observation: Tensor, info: Info, *, deterministic: bool) -> PolicyOutput:
        steps = torch.arange(4, device=observation.device)
        video = info["video"].to(observation.device)
        return PolicyOutput(action=(video[:, None] * 7 + steps * 5) % self.actions)


def _env(made_up: MadeUp, device: str | torch.device, **reward: Any) -> PatchSelectionVectorEnv:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8).to(device)
    return PatchSelectionVectorEnv(
        made_up(device=str(device)), classifier, num_envs=3, seed=4, reward=RewardConfig(**reward)
    )


def _assert_stepped(env: Any, policy: Any, rollout: Rollout) -> None:
    """The same episodes, one step after the other."""
    observation, info = env.reset()
    actions = policy.act(observation, info, deterministic=True).action
    for step in range(4):
        torch.testing.assert_close(rollout.observation[:, step], observation)
        observation, paid, *_ = env.step(actions[:, step])
        torch.testing.assert_close(rollout.reward[:, step], paid)


@pytest.mark.parametrize(("kind", "positions"), CASES)
def test_patch_selection(made_up: MadeUp, cuda: torch.device, kind: Any, positions: int) -> None:
    reward = {"kind": kind, "baseline_positions": positions}
    expected = _env(made_up, "cpu", **reward).rollout(Scripted(9))
    found = _env(made_up, cuda, **reward).rollout(Scripted(9))
    assert found.reward.device.type == cuda.type
    torch.testing.assert_close(found.reward.cpu(), expected.reward, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.logits.cpu(), expected.logits, rtol=1e-4, atol=1e-5)
    _assert_stepped(_env(made_up, cuda, **reward), Scripted(9), found)


def test_frame_skipping(made_up: MadeUp, cuda: torch.device) -> None:
    def env(device: str | torch.device) -> FrameSkippingVectorEnv:
        return FrameSkippingVectorEnv(_env(made_up, device), Scripted(9), lambda_=0.05)

    expected, found = (env(device).rollout(Scripted(2)) for device in ("cpu", cuda))
    torch.testing.assert_close(found.reward.cpu(), expected.reward, rtol=1e-4, atol=1e-5)
    _assert_stepped(env(cuda), Scripted(2), found)


def test_numpy_comes_from_the_gpu(made_up: MadeUp, cuda: torch.device) -> None:
    env = to_numpy(_env(made_up, cuda))
    observation, _ = env.reset(seed=1)
    assert isinstance(observation, np.ndarray)
    observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
    assert all(isinstance(value, np.ndarray) for value in (observation, reward, terminated, truncated))
    assert observation in env.observation_space
    env.close()
