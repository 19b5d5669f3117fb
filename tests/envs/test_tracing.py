"""Traces say what was chosen, what it cost and what was believed, by plain computation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from adafocus_rl.agents import CenterAgent, PPOAgent, PPOOptions, RandomAgent
from adafocus_rl.agents.skipping import RandomSkipAgent, RandomSkipOptions
from adafocus_rl.envs import FrameSkippingVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.envs.tracing import FrameMacs, Tracer
from adafocus_rl.models.classifiers import GRUClassifier

MACS = FrameMacs(always=5, local=100)


@pytest.fixture
def env(made_up: Any) -> PatchSelectionVectorEnv:
    source = made_up(videos=5, frames=4)
    source.true_boxes[1, 2] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    return PatchSelectionVectorEnv(source, classifier, num_envs=3)


def test_boxes_beliefs_and_compute_of_patch_selection(env: PatchSelectionVectorEnv) -> None:
    agent = PPOAgent(env, PPOOptions(hidden=8, reduced_channels=2))
    tracer = Tracer(name="ppo", macs=MACS, after_stage=3, facts={"seed": 1})
    rollouts = [env.rollout(agent, episodes=episodes, deterministic=True) for episodes in env.source.batches(2)]
    for rollout in rollouts:
        tracer.add(env, rollout)
    trace, videos = tracer.finish(), tracer.videos()
    action = torch.cat([rollout.output.action for rollout in rollouts])
    # 3×3 patches of side 4 on a frame of side 12: origins 0, 4, 8.
    assert torch.equal(trace.boxes[..., 0], action // 3 * 4)
    assert torch.equal(trace.boxes[..., 1], action % 3 * 4)
    assert (trace.boxes[..., 2:] == 4).all()
    assert trace.kept.all()
    assert (trace.macs == 105).all()
    belief = torch.cat([rollout.logits for rollout in rollouts]).softmax(-1)
    assert torch.equal(trace.predicted, belief.argmax(-1))
    assert torch.allclose(trace.confidence, belief.amax(-1))
    labels = env.source.labels
    assert torch.allclose(trace.true_confidence, torch.stack([belief[i, :, labels[i]] for i in range(5)]))
    assert trace.reward is not None
    assert torch.equal(trace.reward, torch.cat([rollout.reward for rollout in rollouts]))
    assert trace.probabilities is not None
    assert trace.probabilities.shape == (5, 4, 9)
    assert torch.allclose(trace.probabilities.float().sum(-1), torch.ones(5, 4), atol=0.01)
    assert torch.equal(trace.probabilities.argmax(-1), action)
    assert (trace.name, trace.after_stage, trace.patch_size, trace.facts) == ("ppo", 3, 4, {"seed": 1})
    assert videos["videos"].tolist() == [0, 1, 2, 3, 4]
    assert videos["multi_hot"].long().argmax(1).tolist() == labels.tolist()
    assert videos["true_boxes"][1, 2].tolist() == [1, 2, 3, 4]


def test_what_is_not_known_is_not_there(env: PatchSelectionVectorEnv) -> None:
    tracer = Tracer(name="random", macs=MACS)
    episodes = env.source.episodes(torch.arange(3))
    tracer.add(env, env.rollout(RandomAgent(env), episodes=episodes, deterministic=True, with_reward=False))
    trace = tracer.finish()
    assert trace.reward is None
    assert trace.probabilities is None
    assert trace.patch_size == 0


def test_skipped_frames_cost_no_focus_and_keep_the_patch_that_was_not_looked_at(env: PatchSelectionVectorEnv) -> None:
    policy = PPOAgent(env, PPOOptions(hidden=8, reduced_channels=2))
    skipping = FrameSkippingVectorEnv(env, policy, lambda_=0.1)
    agent = RandomSkipAgent(skipping, RandomSkipOptions(share=0.5), seed=3)
    episodes = env.source.episodes(torch.arange(5))
    tracer = Tracer(name="skip", macs=MACS, price=0.1)
    rollout = skipping.rollout(agent, episodes=episodes, deterministic=True)
    tracer.add(skipping, rollout)
    trace = tracer.finish()
    kept = rollout.output.action == 1
    assert 0 < int(kept.sum()) < kept.numel()
    assert torch.equal(trace.kept, kept)
    assert torch.equal(trace.macs, 5 + 100 * kept.long())
    alone = env.rollout(policy, episodes=episodes, deterministic=True)
    assert torch.equal(trace.boxes[..., 0] // 4 * 3 + trace.boxes[..., 1] // 4, alone.output.action)
    assert alone.output.probabilities is not None
    assert trace.probabilities is not None
    assert torch.equal(trace.probabilities, alone.output.probabilities.half())


def test_whole_frames(env: PatchSelectionVectorEnv) -> None:
    tracer = Tracer(name="full", macs=MACS)
    logits = torch.randn(5, 4, 3)
    tracer.add_whole_frames(env.source.episodes(torch.arange(5)), logits, frame_size=12)
    trace = tracer.finish()
    assert (trace.boxes == torch.tensor([0, 0, 12, 12])).all()
    assert torch.equal(trace.last_predicted, logits[:, -1].argmax(-1))


def test_a_fixed_agent_s_boxes(env: PatchSelectionVectorEnv) -> None:
    tracer = Tracer(name="center", macs=MACS)
    tracer.add(env, env.rollout(CenterAgent(env), episodes=env.source.episodes(torch.arange(2)), deterministic=True))
    assert (tracer.finish().boxes == torch.tensor([4, 4, 4, 4])).all()
