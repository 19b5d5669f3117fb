"""Patch by patch: the observation is what was processed last."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch

from adafocus_rl.agents import CenterAgent, PPOAgent, PPOOptions, RandomAgent
from adafocus_rl.envs import LastCropVectorEnv, RewardConfig
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any


@pytest.fixture
def env(made_up: MadeUp) -> LastCropVectorEnv:
    torch.manual_seed(0)
    return LastCropVectorEnv(made_up(videos=3), GRUClassifier(input_dim=11, num_classes=3, hidden=8), num_envs=3)


def test_observations_and_rewards_in_numbers(env: LastCropVectorEnv) -> None:
    source: Any = env.source
    actions = torch.randint(9, (3, 4), generator=torch.Generator().manual_seed(1))
    observation, info = env.reset()
    episodes = source.episodes(info["video"].cpu())
    vectors, local = episodes.global_vector, episodes.local(actions)
    width = vectors.shape[-1]
    assert torch.equal(observation[:, :width], vectors[:, 0])
    assert not observation[:, width:].any()
    state = torch.zeros(3, 8)
    with torch.no_grad():
        before = env.classifier.logits(state).softmax(-1)
    for frame in range(4):
        observation, reward, terminated, *_ = env.step(actions[:, frame])
        with torch.no_grad():
            state = env.classifier.cell(torch.cat((vectors[:, frame], local[:, frame]), -1), state)
            after = env.classifier.logits(state).softmax(-1)
        expected = (after - before).gather(1, episodes.labels[:, None])[:, 0]
        assert torch.allclose(reward, expected, atol=1e-6)
        before = after
        if frame < 3:
            assert not observation[:, :width].any()
            assert torch.equal(observation[:, width:-9], local[:, frame])
            assert torch.equal(observation[:, -9:].argmax(1), actions[:, frame])
            assert observation[:, -9:].sum(1).tolist() == [1, 1, 1]
            assert env.single_observation_space.contains(observation[0].numpy())
    assert bool(terminated.all())


@pytest.mark.parametrize("deterministic", [True, False])
def test_whole_episodes_equal_single_steps(env: LastCropVectorEnv, deterministic: bool) -> None:
    agent = PPOAgent(env, PPOOptions(hidden=8))
    rollout = env.rollout(agent, deterministic=deterministic)
    env.reset(options={"videos": rollout.info["video"].cpu()})
    for frame in range(4):
        observation = env.problem and rollout.observation[:, frame]
        if frame:
            assert torch.allclose(observation, last[0], atol=1e-6)  # noqa: F821
        last = env.step(rollout.output.action[:, frame])
        assert torch.allclose(last[1], rollout.reward[:, frame], atol=1e-6)


def test_an_agent_learns_in_it(env: LastCropVectorEnv) -> None:
    agent = PPOAgent(env, PPOOptions(hidden=8, learning_rate=0.01))
    returns: list[float] = []
    agent.learn(env, epochs=30, callback=lambda _, scalars: returns.append(scalars["rollout/ep_rew_mean"]))
    assert returns[-1] > returns[0]


def test_the_same_problem_with_other_features(env: LastCropVectorEnv, made_up: MadeUp) -> None:
    other = env.like(made_up(videos=5), num_envs=2)
    assert (other.num_envs, other.problem.reward_config.kind) == (2, "increment")
    assert other.single_observation_space == env.single_observation_space
    chosen = LastCropVectorEnv(env.source, env.classifier, reward=RewardConfig(kind="confidence"))
    assert chosen.like(env.source).problem.reward_config.kind == "confidence"
    assert isinstance(env.single_action_space, gym.spaces.Discrete)


def test_fixed_agents_act_in_it_and_whole_episode_policies_are_refused(env: LastCropVectorEnv) -> None:
    assert env.rollout(CenterAgent(env)).output.action.unique().tolist() == [4]
    assert env.rollout(RandomAgent(env)).output.action.shape == (3, 4)

    class Whole:
        def act(self, observation: Any, info: Any, *, deterministic: bool) -> Any: ...

    with pytest.raises(UserError, match="with observations of the last crop they depend on its own choices"):
        env.rollout(Whole())
