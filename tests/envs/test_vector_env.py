"""One vector environment runs any decision problem: one that is made up here takes both ways to the same numbers."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from adafocus_rl.envs import DecisionProblem, DecisionVectorEnv, Info, PolicyOutput, RewardContext, SpaceConfig
from adafocus_rl.envs.spaces import Spaces
from adafocus_rl.features.source import EpisodeFeatures
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any
FRAMES = 4


class Glances(DecisionProblem):
    """Whether f_L looks at the whole frame, at half of it (its features are halved), or not at all."""

    skips_frames = True

    def local(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        rows = torch.arange(len(episodes))[:, None]
        full = episodes.full()[rows, when]
        share = action.float() / 2
        return full * share[..., None] if action.ndim == when.ndim else full[:, :, None] * share[..., None]

    def boxes(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        return torch.tensor([0, 0, 12, 12]).expand(*when.shape, 4)

    def kept(self, action: Tensor) -> Tensor:
        return action > 0

    def reward(self, context: RewardContext) -> Tensor:
        every = torch.arange(3).expand(len(context.action), -1)
        return context.chosen - context.with_actions(every).mean(-1)


class Choosy:
    """Chooses by what it sees."""

    def act(self, observation: Any, info: Info, *, deterministic: bool) -> PolicyOutput:
        mood = observation["features"].flatten(2).sum(-1) + observation["time_step"][..., 0]
        return PolicyOutput(action=(mood * 100).long().abs() % 3)


def _env(made_up: MadeUp, mode: AutoresetMode = AutoresetMode.SAME_STEP) -> DecisionVectorEnv:
    torch.manual_seed(0)
    source = made_up()
    problem = Glances(
        source,
        GRUClassifier(input_dim=11, num_classes=3, hidden=8),
        spaces=Spaces(SpaceConfig(time_step=True), source),
        action_space=gym.spaces.Discrete(3),
    )
    return DecisionVectorEnv(problem, num_envs=3, seed=1, autoreset_mode=mode, render_mode="rgb_array")


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_another_problem_takes_both_ways_to_the_same_numbers(made_up: MadeUp, mode: AutoresetMode) -> None:
    stepped, rolled = (_env(made_up, mode) for _ in range(2))
    observation, info = stepped.reset()
    for _ in range(3):
        rollout = rolled.rollout(Choosy())
        assert torch.equal(rollout.info["video"], info["video"])
        for step, action in enumerate(rollout.output.action.unbind(1)):
            assert all(torch.equal(rollout.observation[name][:, step], observation[name]) for name in observation)
            observation, reward, terminated, _, info = stepped.step(action)
            torch.testing.assert_close(rollout.reward[:, step], reward)
        assert terminated.all()
        assert len(rollout.output.action.unique()) == 3
        if mode == AutoresetMode.NEXT_STEP:
            observation, *_, info = stepped.step(action)


def test_what_f_l_saw_is_the_problem_s_to_say(made_up: MadeUp) -> None:
    env = _env(made_up)
    assert env.skips_frames
    rollout = env.rollout(Choosy())
    assert torch.equal(env.kept_frames(rollout), rollout.output.action > 0)
    assert (env.chosen_boxes(rollout) == torch.tensor([0, 0, 12, 12])).all()
    assert env.patch_probabilities(rollout) is None
    assert env.last_boxes() is None
    env.reset()
    env.step(torch.tensor([0, 1, 2]))
    boxes = env.last_boxes()
    assert boxes is not None
    assert boxes.tolist() == [[0, 0, 0, 0], [0, 0, 12, 12], [0, 0, 12, 12]]
    assert env.render() is not None
