"""Keep or skip: both ways, a plain computation, and nothing spent on what is skipped."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import pytest
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from adafocus_rl.envs import Info, PatchSelectionVectorEnv, PolicyOutput, RewardConfig
from adafocus_rl.envs.frame_skipping import FrameSkippingVectorEnv
from adafocus_rl.envs.skippable import KEEP, SKIP, SkippableFeatures
from adafocus_rl.errors import UserError
from adafocus_rl.features import FeatureBank
from adafocus_rl.models import create_classifier
from adafocus_rl.models.classifiers import Classifier

MadeUp = Any
FRAMES, ACTIONS = 4, 9


def _classifier(kind: str = "gru") -> Classifier:
    torch.manual_seed(0)
    return create_classifier(kind, input_dim=11, num_classes=3, hidden=8, dropout=0.5)


class Patches:
    """π: the patch is a function of what is observed."""

    calls = 0

    def act(self, observation: Tensor, info: Info, *, deterministic: bool) -> PolicyOutput:
        """From one number of each map."""
        assert deterministic
        self.calls += 1
        seen = observation.flatten(2)[..., 0]
        return PolicyOutput(action=(seen * 1000).long().abs() % ACTIONS)


class Positions:
    """π with continuous actions."""

    def act(self, observation: Tensor, info: Info, *, deterministic: bool) -> PolicyOutput:
        """From two numbers of each map."""
        return PolicyOutput(action=observation.flatten(2)[..., :2].sigmoid())


def _choices(info: Info) -> Tensor:
    """π′'s (B, T), a function of the episode, with whole frames kept and skipped."""
    number = info["video"][:, None] * 5 + info["visit"][:, None] * 3 + torch.arange(FRAMES) * 7
    return (number // 2) % 2


class Scripted:
    """π′."""

    calls = 0

    def act(self, observation: Tensor, info: Info, *, deterministic: bool) -> PolicyOutput:
        """The choices that belong to each episode."""
        self.calls += 1
        return PolicyOutput(action=_choices(info).to(observation.device))


class Always:
    """π′ that does not think."""

    def __init__(self, action: int) -> None:
        self.action = action

    def act(self, observation: Tensor, info: Info, *, deterministic: bool) -> PolicyOutput:
        """The same for all."""
        return PolicyOutput(action=torch.full(observation.shape[:2], self.action))


def _env(
    made_up: MadeUp, kind: str = "gru", *, lambda_: float = 0.05, policy: Any = None, **options: Any
) -> FrameSkippingVectorEnv:
    spaces = {"action_space": "continuous"} if isinstance(policy, Positions) else {}
    env = PatchSelectionVectorEnv(made_up(), _classifier(kind), num_envs=3, seed=4, **spaces)
    return FrameSkippingVectorEnv(env, policy or Patches(), lambda_=lambda_, **options)


def test_the_spaces_contain_what_comes_out(made_up: MadeUp) -> None:
    env = _env(made_up)
    assert env.single_action_space == gym.spaces.Discrete(2)
    assert env.action_space == gym.spaces.MultiDiscrete([2, 2, 2])
    observation, info = env.reset()
    assert torch.equal(observation, env.patches.source.maps[info["video"], 0])
    for _ in range(6):
        observation, reward, *_ = env.step(torch.from_numpy(env.action_space.sample()))
        assert observation.numpy() in env.observation_space
        assert (reward.shape, reward.dtype) == ((3,), torch.float32)


@pytest.mark.parametrize("kind", ["gru", "average", "max_pool"])
@pytest.mark.parametrize("policy", [Patches(), Positions()])
def test_rollout_equals_step_by_step(made_up: MadeUp, kind: str, policy: Any) -> None:
    stepped, rolled = (_env(made_up, kind, policy=policy) for _ in range(2))
    observation, info = stepped.reset()
    # Three batches of three: beyond the first pass over the seven videos.
    for _ in range(3):
        rollout = rolled.rollout(Scripted())
        assert torch.equal(rollout.info["video"], info["video"])
        for step, actions in enumerate(_choices(info).unbind(1)):
            assert torch.equal(rollout.observation[:, step], observation)
            observation, paid, terminated, _, info = stepped.step(actions)
            torch.testing.assert_close(rollout.reward[:, step], paid)
            logits = (info["final_info"] if terminated.all() else info)["logits"]
            torch.testing.assert_close(rollout.logits[:, step], logits)
        assert terminated.all()
        torch.testing.assert_close(info["episode"]["r"], rollout.reward.sum(1))


def test_only_some_episodes_begin_anew(made_up: MadeUp) -> None:
    """The patches of an environment that was reset go with its video."""
    env = _env(made_up, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(options={"videos": [0, 1, 2]})
    for _ in range(2):
        env.step(torch.tensor([KEEP, SKIP, KEEP]))
    env.reset(options={"reset_mask": torch.tensor([False, True, False]).numpy(), "videos": [6, 6, 6]})
    paid = torch.stack([env.step(torch.tensor([KEEP, KEEP, SKIP]))[1] for _ in range(2)], dim=1)
    whole = _env(made_up).rollout(Always(KEEP), episodes=env.source.episodes(torch.tensor([0, 6])))
    torch.testing.assert_close(paid[0], whole.reward[0, 2:])
    torch.testing.assert_close(paid[1], whole.reward[1, :2])
    assert paid[2].tolist() == [0, 0]


@pytest.mark.parametrize("kind", ["gru", "average", "max_pool"])
@torch.no_grad()
def test_rewards_equal_a_plain_computation(made_up: MadeUp, kind: str) -> None:
    """One frame after the other, in float64."""
    env = _env(made_up, kind, lambda_=0.03)
    source: Any = env.patches.source
    classifier = _classifier(kind).double().eval()
    rollout = env.rollout(Scripted(), episodes=source.episodes(torch.tensor([6, 2])), visit=5)
    expected = torch.zeros(2, FRAMES)
    patches = Patches().act(source.maps[[6, 2]], {}, deterministic=True).action
    for b, video in enumerate((6, 2)):
        state = classifier.initial_state(1, dtype=torch.float64)
        for t in range(FRAMES):
            seen = source.patches[video, t, patches[b, t]]
            after = {
                action: classifier.cell(
                    torch.cat((source.vectors[video, t], seen if action == KEEP else 0 * seen)).double()[None], state
                )
                for action in (KEEP, SKIP)
            }
            kept = int(rollout.output.action[b, t])
            if kept:
                p = {a: classifier.logits(s).softmax(-1)[0, source.labels[video]] for a, s in after.items()}
                expected[b, t] = p[KEEP] - p[SKIP] - 0.03
            state = after[kept]
        torch.testing.assert_close(rollout.logits[b, -1].double(), classifier.logits(state)[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(rollout.reward, expected, rtol=1e-5, atol=1e-6)
    skipped = rollout.output.action == SKIP
    assert 0 < int(skipped.sum()) < skipped.numel()
    assert rollout.reward[skipped].eq(0).all()
    assert rollout.reward[~skipped].ne(0).all()


def test_to_keep_all_is_patch_selection_that_costs(made_up: MadeUp) -> None:
    env = _env(made_up, lambda_=0.2)
    plain = PatchSelectionVectorEnv(made_up(), _classifier(), num_envs=3, reward=RewardConfig(kind="padding"))
    episodes = plain.source.episodes(torch.arange(7))
    kept, chosen = (
        env.rollout(Always(KEEP), episodes=episodes),
        plain.rollout(Patches(), episodes=episodes, deterministic=True),
    )
    assert torch.equal(kept.logits, chosen.logits)
    torch.testing.assert_close(kept.reward, chosen.reward - 0.2)
    skipped = env.rollout(Always(SKIP), episodes=episodes)
    assert not torch.equal(skipped.logits, chosen.logits)
    assert not skipped.reward.any()


def test_a_rollout_has_no_loop_over_time_or_batch(made_up: MadeUp, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, skipper = Patches(), Scripted()
    env = _env(made_up, policy=policy)
    calls = {"sequence": 0, "projected_cells": 0}

    def count(name: str) -> None:
        method = getattr(env.classifier, name)

        def spy(*inputs: Tensor) -> Tensor:
            calls[name] += 1
            return method(*inputs)

        monkeypatch.setattr(env.classifier, name, spy)

    for name in calls:
        count(name)
    env.rollout(skipper)
    assert (policy.calls, skipper.calls, calls) == (1, 1, {"sequence": 1, "projected_cells": 1})
    env.rollout(skipper, with_reward=False)
    assert (policy.calls, skipper.calls, calls) == (2, 2, {"sequence": 2, "projected_cells": 1})


def test_step_by_step_the_policy_is_asked_once_an_episode(made_up: MadeUp) -> None:
    policy = Patches()
    env = _env(made_up, policy=policy, autoreset_mode=AutoresetMode.DISABLED)
    env.reset()
    for _ in range(FRAMES):
        env.step(torch.tensor([KEEP, SKIP, KEEP]))
    assert policy.calls == 1


def test_a_rollout_never_waits_for_the_device(made_up: MadeUp) -> None:
    """Tensors of the meta device have no values: whoever reads one, or mixes devices, fails."""
    patches = PatchSelectionVectorEnv(made_up(device="meta"), _classifier(), num_envs=3)

    class Zeros:
        def act(self, observation: Tensor, info: Info, *, deterministic: bool) -> PolicyOutput:
            return PolicyOutput(action=torch.zeros(observation.shape[:2], dtype=torch.long, device="meta"))

    env = FrameSkippingVectorEnv(patches, Zeros(), lambda_=0.1)
    rollout = env.rollout(Zeros())
    assert rollout.reward.is_meta
    env.reset()
    for _ in range(FRAMES + 1):
        assert env.step(torch.zeros(3, dtype=torch.long, device="meta"))[1].is_meta


def test_on_a_bank_the_policy_is_asked_once_a_video(made_up: MadeUp) -> None:
    """There, a video looks the same in every epoch."""
    policy = Patches()
    source = SkippableFeatures(PatchSelectionVectorEnv(made_up(), _classifier()).problem, policy, batch_size=4)
    assert not source.fixed
    asked = torch.cat([part.patches for part in source.batches(3)])
    assert policy.calls == 3
    source.fixed = True
    for _ in range(2):
        assert torch.equal(torch.cat([part.patches for part in source.batches(3)]), asked)
        assert torch.equal(source.episodes(torch.tensor([5, 1])).patches, asked[[5, 1]])
    # Two batches of up to four videos, once.
    assert policy.calls == 5


def test_a_bank_is_known_as_one(made_up: MadeUp) -> None:
    bank = FeatureBank.__new__(FeatureBank)
    vars(bank).update(vars(made_up()))
    assert SkippableFeatures(PatchSelectionVectorEnv(bank, _classifier()).problem, Patches(), batch_size=4).fixed


def test_the_same_problem_on_other_features(made_up: MadeUp) -> None:
    env = _env(made_up, lambda_=0.07)
    other, classifier = made_up(seed=3), _classifier("average")
    for source in (other, env.like(other).source):
        like = env.like(source, classifier, num_envs=2)
        assert (like.lambda_, like.num_envs, like.seed) == (0.07, 2, 4)
        assert like.classifier is classifier
        rollout = like.rollout(Scripted(), episodes=other.episodes(torch.tensor([2, 3])))
        expected = FrameSkippingVectorEnv(
            PatchSelectionVectorEnv(other, classifier, num_envs=2), Patches(), lambda_=0.07
        ).rollout(Scripted(), episodes=other.episodes(torch.tensor([2, 3])))
        assert torch.equal(rollout.reward, expected.reward)


def test_impossible_settings_are_refused(made_up: MadeUp) -> None:
    for lambda_ in (math.nan, math.inf):
        with pytest.raises(UserError, match=f"lambda_, the cost of a look at a frame, is {lambda_}"):
            _env(made_up, lambda_=lambda_)
    with pytest.raises(UserError, match="num_envs is 0"):
        _env(made_up, num_envs=0)
