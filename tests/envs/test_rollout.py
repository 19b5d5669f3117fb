"""Whole episodes at once are the same numbers as step by step, and as a plain computation."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from adafocus_rl.envs import REWARDS, Info, PatchSelectionVectorEnv, PolicyOutput, RewardConfig, rewards
from adafocus_rl.models import create_classifier
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.seeding import derive_seed, hash_randint

MadeUp = Any
FRAMES, ACTIONS = 4, 9
CASES = [("random", 1), ("random", 3), ("random", 0), ("padding", 1), ("increment", 1), ("confidence", 1)]


def _classifier(kind: str) -> Classifier:
    torch.manual_seed(0)
    return create_classifier(kind, input_dim=11, num_classes=3, hidden=8, dropout=0.5)


def _env(made_up: MadeUp, kind: str, reward: str, positions: int = 1, **options: Any) -> PatchSelectionVectorEnv:
    config = RewardConfig(kind=reward, baseline_positions=positions)
    options = {"num_envs": 3, "seed": 4, **options}
    return PatchSelectionVectorEnv(made_up(), _classifier(kind), reward=config, **options)


def _actions(info: Info) -> Tensor:
    """(B, T), a function of the episode."""
    return (info["video"][:, None] * 7 + info["visit"][:, None] * 3 + torch.arange(FRAMES) * 5) % ACTIONS


class Scripted:
    """A policy that counts how often it is asked."""

    calls = 0

    def act(self, observation: Tensor, info: Info, *, deterministic: bool) -> PolicyOutput:
        """The actions that belong to each episode."""
        self.calls += 1
        return PolicyOutput(action=_actions(info).to(observation.device))


@pytest.mark.parametrize("kind", ["gru", "average", "max_pool"])
@pytest.mark.parametrize(("reward", "positions"), CASES)
def test_rollout_equals_step_by_step(made_up: MadeUp, kind: str, reward: str, positions: int) -> None:
    stepped, rolled = (_env(made_up, kind, reward, positions) for _ in range(2))
    observation, info = stepped.reset()
    # Three batches of three: beyond the first pass over the seven videos.
    for _ in range(3):
        rollout = rolled.rollout(Scripted())
        assert torch.equal(rollout.info["video"], info["video"])
        assert torch.equal(rollout.info["visit"], info["visit"])
        for step, actions in enumerate(_actions(info).unbind(1)):
            assert torch.equal(rollout.observation[:, step], observation)
            observation, paid, terminated, _, info = stepped.step(actions)
            torch.testing.assert_close(rollout.reward[:, step], paid)
            logits = (info["final_info"] if terminated.all() else info)["logits"]
            torch.testing.assert_close(rollout.logits[:, step], logits)
        assert terminated.all()


def _expected(env: PatchSelectionVectorEnv, video: int, actions: list[int], visit: int) -> list[float]:
    """One video's rewards, one frame after the other, in float64."""
    source: Any = env.source
    classifier = copy.deepcopy(env.classifier).double()
    config, label = env.reward_config, int(source.labels[video])

    def probability(state: Tensor) -> float:
        return float(classifier.logits(state).softmax(-1)[0, label])

    def after(state: Tensor, frame: int, local: Tensor) -> Tensor:
        return classifier.cell(torch.cat((source.vectors[video, frame], local)).double()[None], state)

    state, paid = classifier.initial_state(1, dtype=torch.float64), []
    for frame, action in enumerate(actions):
        patches = source.patches[video, frame]
        following = after(state, frame, patches[action])
        p = probability(following)
        if config.kind == "random":
            options = range(ACTIONS)
            if config.baseline_positions:
                seed = derive_seed(env.seed, "baseline")
                counters = torch.tensor([[video, visit, frame, k] for k in range(config.baseline_positions)]).unbind(1)
                options = hash_randint(ACTIONS, seed, *counters).tolist()
            other = [probability(after(state, frame, patches[option])) for option in options]
            p -= sum(other) / len(other)
        elif config.kind == "padding":
            p -= probability(after(state, frame, patches[0] * 0))
        elif config.kind == "increment":
            p -= probability(state)
        paid.append(p)
        state = following
    return paid


@pytest.mark.parametrize("kind", ["gru", "average", "max_pool"])
@pytest.mark.parametrize(("reward", "positions"), CASES)
@torch.no_grad()
def test_rewards_equal_a_plain_computation(made_up: MadeUp, kind: str, reward: str, positions: int) -> None:
    env = _env(made_up, kind, reward, positions)
    rollout = env.rollout(Scripted(), episodes=env.source.episodes(torch.tensor([6, 2])), visit=5)
    expected = [
        _expected(env, int(video), actions.tolist(), visit=5)
        for video, actions in zip(rollout.info["video"], rollout.output.action, strict=True)
    ]
    torch.testing.assert_close(rollout.reward, torch.tensor(expected), rtol=1e-5, atol=1e-6)
    assert rollout.reward.abs().max() > 1e-3


@pytest.mark.parametrize(("reward", "positions"), CASES)
def test_a_video_s_rewards_depend_on_nothing_beside_it(made_up: MadeUp, reward: str, positions: int) -> None:
    by_video = []
    for num_envs in (1, 3, 7):
        env = _env(made_up, "gru", reward, positions, num_envs=num_envs)
        rollouts = list(env.rollouts(Scripted(), epoch=2))
        order = torch.cat([rollout.info["video"] for rollout in rollouts])
        by_video.append(torch.cat([rollout.reward for rollout in rollouts])[order.argsort()])
    torch.testing.assert_close(by_video[1], by_video[0])
    torch.testing.assert_close(by_video[2], by_video[0])


def test_other_visits_have_other_baselines(made_up: MadeUp) -> None:
    env = _env(made_up, "gru", "random")
    episodes = env.source.episodes(torch.arange(7))
    drawn = [env.problem.baseline(episodes, torch.full((7,), visit), env.seed) for visit in (0, 1)]
    assert not torch.equal(*drawn)
    assert drawn[0].shape == (7, FRAMES, 1)


def test_all_positions_in_parts_are_the_same_rewards(made_up: MadeUp, monkeypatch: pytest.MonkeyPatch) -> None:
    env = _env(made_up, "gru", "random", 0)
    episodes = env.source.episodes(torch.arange(7))
    at_once = env.rollout(Scripted(), episodes=episodes).reward
    monkeypatch.setattr(rewards, "MAX_CELL_ROWS", 2 * 7 * FRAMES)
    torch.testing.assert_close(env.rollout(Scripted(), episodes=episodes).reward, at_once)


@pytest.mark.parametrize(
    ("reward", "positions", "cells"),
    [
        ("random", 1, 1),
        ("random", 3, 1),
        ("random", 0, 1),
        ("padding", 1, 1),
        ("increment", 1, 0),
        ("confidence", 1, 0),
    ],
)
def test_a_rollout_has_no_loop_over_time_or_batch(
    made_up: MadeUp, monkeypatch: pytest.MonkeyPatch, reward: str, positions: int, cells: int
) -> None:
    env = _env(made_up, "gru", reward, positions)
    calls = {"sequence": 0, "projected_cells": 0}

    def count(name: str) -> None:
        method = getattr(env.classifier, name)

        def spy(*inputs: Tensor) -> Tensor:
            calls[name] += 1
            return method(*inputs)

        monkeypatch.setattr(env.classifier, name, spy)

    for name in calls:
        count(name)
    policy = Scripted()
    env.rollout(policy)
    assert (policy.calls, calls) == (1, {"sequence": 1, "projected_cells": cells})
    env.rollout(policy, with_reward=False)
    assert (policy.calls, calls) == (2, {"sequence": 2, "projected_cells": cells})


@pytest.mark.parametrize("kind", ["gru", "average", "max_pool"])
@pytest.mark.parametrize(("reward", "positions"), CASES)
def test_a_rollout_never_waits_for_the_device(made_up: MadeUp, kind: str, reward: str, positions: int) -> None:
    """Tensors of the meta device have no values: whoever reads one, or mixes devices, fails."""
    source = made_up(device="meta")
    config = RewardConfig(kind=reward, baseline_positions=positions)
    env = PatchSelectionVectorEnv(source, _classifier(kind), num_envs=3, reward=config)
    assert next(env.classifier.parameters()).is_meta

    class Zeros:
        def act(self, observation: Tensor, info: Info, *, deterministic: bool) -> PolicyOutput:
            return PolicyOutput(action=torch.zeros(observation.shape[:2], dtype=torch.long, device="meta"))

    rollout = env.rollout(Zeros())
    assert rollout.reward.is_meta
    assert (rollout.reward.shape, rollout.logits.shape) == ((3, FRAMES), (3, FRAMES, 3))
    env.reset()
    for _ in range(FRAMES + 1):
        observation, paid, *_ = env.step(torch.zeros(3, dtype=torch.long, device="meta"))
        assert (observation.shape, paid.shape) == ((3, 2, 3, 3), (3,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_classifier_may_have_another_precision(made_up: MadeUp, dtype: torch.dtype) -> None:
    exact = _env(made_up, "gru", "random", 3)
    other = PatchSelectionVectorEnv(
        made_up(), _classifier("gru").to(dtype), num_envs=3, reward=exact.reward_config, seed=4
    )
    left, right = exact.rollout(Scripted()), other.rollout(Scripted())
    assert right.reward.dtype == torch.float32
    torch.testing.assert_close(left.reward, right.reward, rtol=0, atol=0.05 if dtype == torch.bfloat16 else 1e-6)
    other.reset()
    assert other.step(torch.zeros(3, dtype=torch.long))[1].dtype == torch.float32


def test_a_rollout_leaves_the_running_episode_alone(made_up: MadeUp) -> None:
    env, undisturbed = (_env(made_up, "gru", "random") for _ in range(2))
    for one in (env, undisturbed):
        one.reset()
        one.step(torch.tensor([1, 2, 3]))
    env.rollout(Scripted(), episodes=env.source.episodes(torch.arange(5)))
    left, right = (one.step(torch.tensor([4, 5, 6])) for one in (env, undisturbed))
    assert torch.equal(left[0], right[0])
    assert torch.equal(left[1], right[1])


def test_a_third_party_s_reward_is_paid(made_up: MadeUp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REWARDS._entries, "twice", lambda context: 2 * context.chosen)
    twice = _env(made_up, "gru", "twice").rollout(Scripted()).reward
    torch.testing.assert_close(twice, 2 * _env(made_up, "gru", "confidence").rollout(Scripted()).reward)
