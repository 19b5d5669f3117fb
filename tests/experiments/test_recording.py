"""Records say what was chosen, what it cost and what was believed, by plain computation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from adafocus_rl.agents import CenterAgent, PPOAgent, RandomAgent
from adafocus_rl.agents.methods import Cost, Outcome, Steps, Visit, act
from adafocus_rl.agents.ppo import PPOOptions
from adafocus_rl.agents.skipping import RandomSkipAgent, RandomSkipOptions
from adafocus_rl.envs import FrameSkippingVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.experiments.evaluation.recording import Recorder
from adafocus_rl.models.classifiers import GRUClassifier

COST = Cost(always=5, local=100)
SMALL = PPOOptions(hidden=8, reduced_channels=2)


@pytest.fixture
def env(made_up: Any) -> PatchSelectionVectorEnv:
    source = made_up(videos=5, frames=4)
    source.true_boxes[1, 2] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    return PatchSelectionVectorEnv(source, classifier, num_envs=3)


def test_boxes_beliefs_and_compute_of_patch_selection(env: PatchSelectionVectorEnv) -> None:
    agent = PPOAgent(env, SMALL)
    recorder = Recorder(name="ppo", variant="fine-tuned", facts={"seed": 1})
    outcomes = []
    for batch in env.source.batches(2):
        outcomes.append(act(env, agent, batch, cost=COST, visit=Visit(rewards=True, probabilities=True)))
        recorder.add(batch, outcomes[-1])
    trace, videos = recorder.finish(), recorder.videos()
    action = torch.cat(
        [env.rollout(agent, episodes=batch, deterministic=True).output.action for batch in env.source.batches(2)]
    )
    # 3×3 patches of side 4 on a frame of side 12: origins 0, 4, 8.
    assert torch.equal(trace.boxes[..., 0], action // 3 * 4)
    assert torch.equal(trace.boxes[..., 1], action % 3 * 4)
    assert (trace.boxes[..., 2:] == 4).all()
    assert trace.kept.all()
    assert (trace.macs == 105).all()
    belief = torch.cat([outcome.trace.logits for outcome in outcomes]).softmax(-1)
    assert torch.equal(trace.predicted, belief.argmax(-1))
    assert torch.allclose(trace.confidence, belief.amax(-1))
    source: Any = env.source
    assert torch.allclose(trace.true_confidence, torch.stack([belief[i, :, source.labels[i]] for i in range(5)]))
    assert trace.reward is not None
    assert trace.probabilities is not None
    assert trace.probabilities.shape == (5, 4, 9)
    assert torch.allclose(trace.probabilities.float().sum(-1), torch.ones(5, 4), atol=0.01)
    assert torch.equal(trace.probabilities.argmax(-1), action)
    assert (trace.name, trace.variant, trace.patch_size, trace.facts) == ("ppo", "fine-tuned", 4, {"seed": 1})
    assert videos["videos"].tolist() == [0, 1, 2, 3, 4]
    assert videos["multi_hot"].long().argmax(1).tolist() == source.labels.tolist()
    assert videos["true_boxes"][1, 2].tolist() == [1, 2, 3, 4]


def test_what_is_not_known_is_not_there(env: PatchSelectionVectorEnv) -> None:
    recorder = Recorder(name="random")
    batch = env.source.episodes(torch.arange(3))
    recorder.add(batch, act(env, RandomAgent(env), batch, cost=COST, visit=Visit(probabilities=True)))
    trace = recorder.finish()
    assert trace.reward is None
    assert trace.probabilities is None
    assert trace.patch_size == 0


def test_skipped_frames_cost_no_focus_and_keep_the_patch_that_was_not_looked_at(env: PatchSelectionVectorEnv) -> None:
    policy = PPOAgent(env, SMALL)
    skipping = FrameSkippingVectorEnv(env, policy, lambda_=0.1)
    agent = RandomSkipAgent(skipping, RandomSkipOptions(share=0.5), seed=3)
    batch = env.source.episodes(torch.arange(5))
    recorder = Recorder(name="skip", knob=0.1)
    recorder.add(batch, act(skipping, agent, batch, cost=COST, visit=Visit(probabilities=True)))
    trace = recorder.finish()
    kept = skipping.rollout(agent, episodes=batch, deterministic=True).output.action == 1
    assert 0 < int(kept.sum()) < kept.numel()
    assert torch.equal(trace.kept, kept)
    assert torch.equal(trace.macs, 5 + 100 * kept.long())
    alone = env.rollout(policy, episodes=batch, deterministic=True)
    assert torch.equal(trace.boxes[..., 0] // 4 * 3 + trace.boxes[..., 1] // 4, alone.output.action)
    assert alone.output.probabilities is not None
    assert trace.probabilities is not None
    assert torch.equal(trace.probabilities, alone.output.probabilities.half())


def test_any_method_is_recorded(env: PatchSelectionVectorEnv) -> None:
    recorder = Recorder(name="full")
    logits = torch.randn(5, 4, 3)
    boxes = torch.tensor([0, 0, 12, 12]).expand(5, 4, 4)
    outcome = Outcome.after(Steps(logits=logits, boxes=boxes, cost=COST))
    recorder.add(env.source.episodes(torch.arange(5)), outcome)
    trace = recorder.finish()
    assert (trace.boxes == torch.tensor([0, 0, 12, 12])).all()
    assert torch.equal(trace.last_predicted, logits[:, -1].argmax(-1))
    assert outcome.macs.tolist() == [4 * 105] * 5


def test_a_fixed_agent_s_boxes(env: PatchSelectionVectorEnv) -> None:
    recorder = Recorder(name="center")
    batch = env.source.episodes(torch.arange(2))
    recorder.add(batch, act(env, CenterAgent(env), batch, cost=COST, visit=Visit()))
    assert (recorder.finish().boxes == torch.tensor([4, 4, 4, 4])).all()
