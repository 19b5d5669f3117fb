"""Group-relative advantages: closed form, learning, saving and resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adafocus_rl.agents import Agent, GRPOAgent, GRPOOptions, PPOAgent, PPOOptions
from adafocus_rl.agents.grpo import group_advantages
from adafocus_rl.envs import FindThePatchVectorEnv, FrameSkippingVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any


def make_env(source: Any, **options: Any) -> PatchSelectionVectorEnv:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=source.vector_dim + source.local_dim, num_classes=3, hidden=8)
    return PatchSelectionVectorEnv(source, classifier, num_envs=3, **options)


def make(env: Any, **options: Any) -> GRPOAgent:
    return GRPOAgent(env, GRPOOptions(**{"reduced_channels": 3, "hidden": 12, **options}), seed=1)


def test_advantages_in_closed_form() -> None:
    reward = torch.tensor([[[1.0, 0.0, 2.0]], [[0.0, 4.0, 0.0]]])  # G = 2, B = 1, T = 3
    # Returns at γ = 1/2: (1.5, 1, 2) and (2, 4, 0); means (1.75, 2.5, 1).
    expected = torch.tensor([[[-0.25, -1.5, 1.0]], [[0.25, 1.5, -1.0]]])
    torch.testing.assert_close(group_advantages(reward, 0.5), expected)
    normalised = group_advantages(reward, 0.5, normalise=True, eps=0.0)
    torch.testing.assert_close(normalised, expected.sign())
    assert group_advantages(reward[:1].expand(2, -1, -1), 1.0, normalise=True).abs().max() == 0


@given(seed=st.integers(0, 999), videos=st.integers(1, 4), gamma=st.floats(0, 1))
def test_advantages_of_a_group_sum_to_zero_and_do_not_see_other_videos(seed: int, videos: int, gamma: float) -> None:
    reward = torch.randn(3, videos, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    advantage = group_advantages(reward, gamma)
    torch.testing.assert_close(advantage.sum(0), torch.zeros(videos, 5, dtype=torch.float64))
    torch.testing.assert_close(advantage[:, :1], group_advantages(reward[:, :1], gamma))


def test_a_pass_has_a_group_of_different_sequences_for_each_video(made_up: MadeUp) -> None:
    env = make_env(made_up(), last_action=True)
    agent = make(env, group_size=3)
    batches = list(agent.experience(env, epoch=2))
    groups = [batch.info["visit"].unflatten(0, (3, -1)) for batch in batches]
    assert [group[:, 0].tolist() for group in groups] == [[6, 7, 8]] * len(batches)
    for batch in batches:
        video = batch.info["video"].unflatten(0, (3, -1))
        assert (video == video[0]).all()
        one = env.rollout(agent, episodes=batch.episodes, visit=7)
        middle = slice(len(one.reward), 2 * len(one.reward))
        assert torch.equal(batch.output.action[middle], one.output.action)
        assert torch.equal(batch.reward[middle], one.reward)
        assert torch.equal(batch.observation["last_action"][middle], one.observation["last_action"])
    action = torch.cat([batch.output.action.unflatten(0, (3, -1)) for batch in batches], dim=1)
    assert (action[0] != action[1]).any()


def test_the_first_gradient_is_that_of_the_advantages_times_the_log_probabilities(made_up: MadeUp) -> None:
    """At ratio 1 the clipped surrogate's gradient is that of −mean A · log π."""
    env = make_env(made_up())
    agent = make(env, ent_coef=0.0)
    rollout = next(agent.experience(env, 0))
    targets = agent.targets(rollout, None)

    def gradient(loss: Any) -> torch.Tensor:
        agent.network.zero_grad()
        outputs, value = agent.network.sequence(rollout.observation)
        loss(agent.network.distribution(outputs), value).backward()
        assert agent.network.actor.weight.grad is not None
        return agent.network.actor.weight.grad.clone()

    found = gradient(lambda policy, value: agent.loss(policy, value, targets, progress=0.0)["loss"])
    advantage = group_advantages(rollout.reward.unflatten(0, (4, -1)), 1.0).flatten(0, 1)
    wanted = gradient(lambda policy, value: -(advantage * policy.log_prob(rollout.output.action)).mean())
    torch.testing.assert_close(found, wanted)
    assert found.abs().max() > 0


@pytest.mark.parametrize("memory", [False, True])
def test_it_finds_the_patch(memory: bool) -> None:
    env = FindThePatchVectorEnv(grid=2, num_frames=3, num_envs=32, videos_per_patch=32, memory=memory)
    agent = make(env, hidden=32, reduced_channels=4, learning_rate=0.01, n_epochs=4, gamma=0.0)
    agent.learn(env, epochs=8)
    rollout = env.rollout(agent, episodes=env.source.episodes(env.source.videos), deterministic=True)
    assert rollout.reward.sum(1).mean() > 0.95 * env.best_return


def test_it_learns_to_skip_frames_that_cost_more_than_they_give(made_up: MadeUp) -> None:
    patches = make_env(made_up())
    shares = {}
    for price in (-2.0, 2.0):
        env = FrameSkippingVectorEnv(patches, PPOAgent(patches, PPOOptions(hidden=4)), lambda_=price)
        agent = make(env, learning_rate=0.02, ent_coef=0.0).learn(env, epochs=15)
        rollout = env.rollout(agent, episodes=env.source.episodes(env.source.videos), deterministic=True)
        shares[price] = float(rollout.output.action.float().mean())
    assert shares == {-2.0: 1.0, 2.0: 0.0}


def test_saved_and_resumed_exactly(made_up: MadeUp, tmp_path: Path) -> None:
    env = make_env(made_up())
    options = {"n_minibatches": 2, "n_epochs": 2, "learning_rate": 0.01}
    whole = make(env, **options).learn(env, epochs=3)
    half = make(env, **options).learn(env, epochs=2)
    resumed = make(env, **options)
    resumed.load_training_state(*half.training_state(), what="half")
    resumed.learn(env, epochs=3, start_epoch=2)
    for name, value in whole.tensors().items():
        assert torch.equal(value, resumed.tensors()[name]), name
    whole.save(tmp_path / "agent.safetensors")
    loaded = Agent.load(tmp_path / "agent.safetensors", env)
    assert isinstance(loaded, GRPOAgent)
    assert loaded.options == whole.options
    assert torch.equal(loaded.tensors()["policy.actor.weight"], whole.tensors()["policy.actor.weight"])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"group_size": 1}, "group_size is 1; give at least 2"),
        ({"gamma": 1.5}, r"gamma is 1.5; give a number in \[0, 1\]"),
        ({"clip_range": 0.0}, "clip_range is 0.0; give a number above 0"),
    ],
)
def test_options_out_of_range(option: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        GRPOOptions(**option)
