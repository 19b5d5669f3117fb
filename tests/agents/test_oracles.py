"""Oracles find what trying everything out finds."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from adafocus_rl.agents import (
    BestPatchAgent,
    LeastEntropyAgent,
    MostConfidentAgent,
    OracleOptions,
    RandomAgent,
)
from adafocus_rl.envs import FrameSkippingVectorEnv, Info, PatchSelectionVectorEnv, PolicyOutput
from adafocus_rl.errors import UserError
from adafocus_rl.flops import classifier_macs
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any


def _env(
    made_up: MadeUp, *, seed: int = 0, num_envs: int = 3, frames: int = 4, **options: Any
) -> PatchSelectionVectorEnv:
    torch.manual_seed(seed)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    return PatchSelectionVectorEnv(made_up(frames=frames), classifier, num_envs=num_envs, **options)


class Given:
    """Does as it is told."""

    def __init__(self, action: Tensor) -> None:
        self.action = action

    def act(self, observation: Any, info: Info, *, deterministic: bool) -> PolicyOutput:
        return PolicyOutput(action=self.action)


def _of_truth(share: Tensor, labels: Tensor) -> Tensor:
    """Probabilities (B,) of the true classes, of (B, K)."""
    return share[torch.arange(len(share)), labels]


def _of_any(share: Tensor, labels: Tensor) -> Tensor:
    return share.max(-1).values


def _of_certainty(share: Tensor, labels: Tensor) -> Tensor:
    return -torch.distributions.Categorical(probs=share).entropy()


def _tried_out(env: PatchSelectionVectorEnv, worth: Any = _of_truth) -> Tensor:
    """Greedy actions of all seven videos, found by playing every choice of every frame."""
    episodes = env.source.episodes(torch.arange(7))
    found = torch.zeros(7, 4, dtype=torch.long)
    for frame in range(4):
        tries = []
        for action in range(9):
            found[:, frame] = action
            rollout = env.rollout(Given(found), episodes=episodes, with_reward=False)
            tries.append(worth(rollout.logits[:, frame].softmax(-1), episodes.labels))
        found[:, frame] = torch.stack(tries).argmax(0)
    return found


def test_best_patch_is_what_trying_everything_out_finds(made_up: MadeUp) -> None:
    env = _env(made_up)
    expected = _tried_out(env)
    episodes = env.source.episodes(torch.arange(7))
    assert torch.equal(env.rollout(BestPatchAgent(env), episodes=episodes).output.action, expected)
    assert len(expected.unique()) > 2
    # No other agent's first patch leads to more.
    best, other = (env.rollout(agent, episodes=episodes) for agent in (BestPatchAgent(env), RandomAgent(env)))
    after = [roll.logits[:, 0].softmax(-1)[torch.arange(7), episodes.labels] for roll in (best, other)]
    assert (after[0] >= after[1]).all()
    assert (after[0] > after[1]).any()


def test_best_patch_step_by_step_equals_whole_episodes(made_up: MadeUp) -> None:
    env = _env(made_up)
    agent, expected = BestPatchAgent(env), _tried_out(env)
    observation, info = env.reset()
    agent.begin(info)
    videos, state = info["video"], None
    for step in range(4):
        action, state = agent.predict(observation, state)
        assert torch.equal(action, expected[videos, step])
        observation, *_ = env.step(action)


def test_best_patch_reads_the_environment_it_is_measured_in(made_up: MadeUp) -> None:
    here, there = _env(made_up), _env(made_up, seed=1)
    agent = BestPatchAgent(here)
    assert agent.bind(here) is agent
    episodes = there.source.episodes(torch.arange(7))
    assert torch.equal(there.rollout(agent.bind(there), episodes=episodes).output.action, _tried_out(there))
    assert not torch.equal(_tried_out(there), _tried_out(here))
    # Others are the same everywhere.
    random = RandomAgent(here)
    assert random.bind(there) is random


def test_best_patch_can_be_asked_frame_by_frame(made_up: MadeUp) -> None:
    env = _env(made_up, last_action=True)
    episodes = env.source.episodes(torch.arange(7))
    expected = _tried_out(_env(made_up))
    assert torch.equal(env.rollout(BestPatchAgent(env), episodes=episodes).output.action, expected)


def test_a_rollout_on_other_features_needs_no_binding(made_up: MadeUp) -> None:
    """What the agent reads is what the rollout scores."""
    here, there = _env(made_up), _env(made_up, seed=1)
    there.source.patches = torch.randn(there.source.patches.shape, generator=torch.Generator().manual_seed(3))
    episodes = there.source.episodes(torch.arange(7))
    assert torch.equal(there.rollout(BestPatchAgent(here), episodes=episodes).output.action, _tried_out(there))
    skipping = FrameSkippingVectorEnv(there, BestPatchAgent(here), lambda_=0.1)
    kept = skipping.rollout(Given(torch.ones(7, 4, dtype=torch.long)), episodes=episodes)
    expected = there.chosen_boxes(there.rollout(Given(_tried_out(there)), episodes=episodes))
    assert torch.equal(skipping.chosen_boxes(kept), expected)


# ---- search ---------------------------------------------------------------------------------------------------------


def _after_the_last_frame(env: PatchSelectionVectorEnv, action: Tensor) -> Tensor:
    episodes = env.source.episodes(torch.arange(7))
    return _of_truth(env.rollout(Given(action), episodes=episodes).logits[:, -1].softmax(-1), episodes.labels)


def test_a_wide_search_finds_the_best_of_all_sequences(made_up: MadeUp) -> None:
    """729 sequences of three frames; a width of 81 loses none of their beginnings."""
    env = _env(made_up, frames=3)
    episodes = env.source.episodes(torch.arange(7))
    every = torch.tensor(list(product(range(9), repeat=3)))
    worth = torch.stack([_after_the_last_frame(env, one.expand(7, -1)) for one in every])
    agent = BestPatchAgent(env, OracleOptions(width=81))
    found = env.rollout(agent, episodes=episodes).output.action
    torch.testing.assert_close(_after_the_last_frame(env, found), worth.amax(0))
    greedy = _after_the_last_frame(env, _tried_out_of(env))
    assert (worth.amax(0) - greedy).max() > 1e-3  # there was something to find


def _tried_out_of(env: PatchSelectionVectorEnv) -> Tensor:
    return env.rollout(BestPatchAgent(env), episodes=env.source.episodes(torch.arange(7))).output.action


@pytest.mark.parametrize("width", [2, 5])
def test_a_beam_is_what_keeping_the_best_by_hand_gives(made_up: MadeUp, width: int) -> None:
    env = _env(made_up)
    found = env.rollout(
        BestPatchAgent(env, OracleOptions(width=width)), episodes=env.source.episodes(torch.arange(7))
    ).output.action
    for video in range(7):
        episode = env.source.episodes(torch.tensor([video]))
        kept: list[tuple[int, ...]] = [()]
        for frame in range(4):
            tries = [(*path, action) for path in kept for action in range(9)]
            filled = [torch.tensor([[*path, *[0] * (3 - frame)]]) for path in tries]
            share = [env.rollout(Given(one), episodes=episode).logits[:, frame].softmax(-1) for one in filled]
            worth = [float(_of_truth(one, episode.labels)) for one in share]
            kept = [tries[at] for at in sorted(range(len(tries)), key=lambda at: -worth[at])[:width]]
        assert tuple(found[video].tolist()) == kept[0]


def test_a_search_in_parts_is_the_same(made_up: MadeUp, monkeypatch: pytest.MonkeyPatch) -> None:
    env = _env(made_up)
    agent, episodes = BestPatchAgent(env, OracleOptions(width=3)), env.source.episodes(torch.arange(7))
    whole = env.rollout(agent, episodes=episodes).output.action
    monkeypatch.setattr("adafocus_rl.agents.oracles.MAX_CELL_ROWS", 20)
    assert torch.equal(env.rollout(agent, episodes=episodes).output.action, whole)


def test_searches_are_narrow_or_wide_but_on_the_grid(made_up: MadeUp) -> None:
    with pytest.raises(UserError, match="width is 0; give at least 1"):
        OracleOptions(width=0)
    with pytest.raises(UserError, match="MostConfidentAgent tries all grid positions"):
        MostConfidentAgent(_env(made_up, action_space="continuous"))


# ---- without labels -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "worth"), [(MostConfidentAgent, _of_any), (LeastEntropyAgent, _of_certainty)])
def test_without_labels(made_up: MadeUp, kind: Any, worth: Any) -> None:
    env = _env(made_up)
    expected = _tried_out(env, worth)
    assert torch.equal(env.rollout(kind(env), episodes=env.source.episodes(torch.arange(7))).output.action, expected)
    env.source.labels = (env.source.labels + 1) % 3
    assert torch.equal(env.rollout(kind(env), episodes=env.source.episodes(torch.arange(7))).output.action, expected)


def test_who_needs_no_labels_pays_for_all_patches(made_up: MadeUp) -> None:
    env = _env(made_up)
    agent = LeastEntropyAgent(env, OracleOptions(width=2))
    assert (agent.privileged, agent.patches_per_frame) == (False, 9)
    assert agent.macs_per_step() == 17 * classifier_macs(env.classifier)
    best = BestPatchAgent(env)
    assert (best.privileged, best.patches_per_frame, best.macs_per_step()) == (True, 1, 0)
