"""Random skipping keeps the share that it is told, the same frames whatever the batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from adafocus_rl.agents import CenterAgent
from adafocus_rl.agents.skipping import RandomSkipAgent, RandomSkipOptions
from adafocus_rl.envs import FrameSkippingVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any


def _agent(made_up: MadeUp, *, share: float, seed: int = 0) -> RandomSkipAgent:
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    patches = PatchSelectionVectorEnv(made_up(), classifier, num_envs=3)
    env = FrameSkippingVectorEnv(patches, CenterAgent(patches), lambda_=0.0)
    return RandomSkipAgent(env, RandomSkipOptions(share=share), seed=seed)


def _plan(agent: RandomSkipAgent, videos: list[int], visit: int = 0) -> torch.Tensor:
    return agent.plan({"video": torch.tensor(videos), "visit": torch.full((len(videos),), visit)}, 8)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_it_keeps_its_share(made_up: MadeUp, share: float) -> None:
    kept = _plan(_agent(made_up, share=share), list(range(1000))).float()
    # Five standard deviations of 8000 independent frames.
    assert abs(float(kept.mean()) - share) <= 5 * (share * (1 - share) / 8000) ** 0.5
    assert (kept.mean(0) - share).abs().max() <= 5 * (share * (1 - share) / 1000) ** 0.5


def test_frames_are_a_function_of_video_visit_and_seed(made_up: MadeUp) -> None:
    agent = _agent(made_up, share=0.5)
    together = _plan(agent, [4, 9, 2])
    assert torch.equal(together[1:2], _plan(agent, [9]))
    assert not torch.equal(together, _plan(agent, [4, 9, 2], visit=1))
    assert not torch.equal(together, _plan(_agent(made_up, share=0.5, seed=1), [4, 9, 2]))


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_between_0_and_1(made_up: MadeUp, share: float) -> None:
    with pytest.raises(UserError, match=r"share is .*; give a number in \[0, 1\]"):
        _agent(made_up, share=share)
