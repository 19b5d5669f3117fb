"""The debug environment: what the best agent, and what a blind or forgetful one earns, in closed form."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import Tensor

from adafocus_rl.agents import OracleAgent, PPOOptions
from adafocus_rl.agents.ppo.agent import PPOAgent
from adafocus_rl.envs import FindThePatchVectorEnv, PolicyOutput
from adafocus_rl.envs.find_the_patch import CELL_SIDE, FindThePatchSource
from adafocus_rl.errors import UserError
from adafocus_rl.features import FeatureSource


class _Policy:
    """Acts by a function from maps (B, T, A) to actions (B, T)."""

    def __init__(self, choose: Any) -> None:
        self.choose = choose

    def act(self, observation: Tensor, info: Any, *, deterministic: bool) -> PolicyOutput:
        return PolicyOutput(action=self.choose(observation.flatten(2)))


def _returns(env: FindThePatchVectorEnv, choose: Any) -> Tensor:
    """Returns (N,) of all videos of a pass."""
    return torch.cat([one.reward.sum(1) for one in env.rollouts(_Policy(choose), epoch=0)])


def _look(maps: Tensor) -> Tensor:
    return maps.argmax(-1)


def _remember(maps: Tensor) -> Tensor:
    return maps[:, :1].argmax(-1).expand(-1, maps.shape[1])


def test_looking_is_best_without_memory() -> None:
    env = FindThePatchVectorEnv(num_frames=5)
    assert (env.best_return, env.best_return_without_memory) == (5.0, 5.0)
    assert _returns(env, _look).eq(5).all()


@pytest.mark.parametrize("memory", [False, True])
def test_not_looking_earns_a_share_of_one_in_a(memory: bool) -> None:
    env = FindThePatchVectorEnv(num_frames=4, grid=3, memory=memory, num_envs=50)
    for action in range(9):
        returns = _returns(env, lambda maps, action=action: torch.full(maps.shape[:2], action))
        assert returns.mean().item() == pytest.approx((3 if memory else 4) / 9, abs=1e-6)


def test_remembering_is_best_with_memory_and_looking_alone_is_worth_nothing() -> None:
    env = FindThePatchVectorEnv(num_frames=4, grid=2, memory=True)
    assert (env.best_return, env.best_return_without_memory) == (3.0, 0.75)
    assert _returns(env, _remember).eq(3).all()
    # An agent without memory: any function of the map of the moment, one that differs between steps included.
    table = torch.tensor([3, 0, 2, 1])
    assert _returns(env, lambda maps: maps.argmax(-1) + table * (maps.sum(-1) == 0)).mean().item() == 0.75


def test_the_cue_is_dark_after_the_first_frame_which_pays_nothing() -> None:
    env = FindThePatchVectorEnv(memory=True, num_envs=9)
    cue, _ = env.reset()
    assert cue.flatten(1).sum(1).eq(1).all()
    right = cue.flatten(1).argmax(1)
    seen, reward, *_ = env.step(right)
    assert not seen.any()
    assert reward.tolist() == [0.0] * 9
    *_, info = env.step(right)
    assert torch.equal(info["logits"].softmax(-1)[:, 1], torch.ones(9))
    _, reward, *_ = env.step((right + 1) % 9)
    assert reward.tolist() == [0.0] * 9
    _, reward, terminated, *_ = env.step(right)
    assert reward.tolist() == [1.0] * 9
    assert terminated.all()


@pytest.mark.parametrize("memory", [False, True])
def test_stepping_pays_what_whole_episodes_pay(memory: bool) -> None:
    env = FindThePatchVectorEnv(memory=memory, num_envs=20, shuffle=False, grid=2)
    rollout = next(env.rollouts(_Policy(lambda maps: torch.arange(80).view(20, 4) % 4), epoch=0))
    env.reset()
    rewards = [env.step(rollout.output.action[:, step])[1] for step in range(4)]
    assert torch.equal(torch.stack(rewards, dim=1), rollout.reward)
    assert 0 < rollout.reward.mean() < 1


def test_every_position_is_lit_equally_often_in_every_frame() -> None:
    cells = FindThePatchSource(grid=3, num_frames=4, videos_per_patch=5).cells
    for frame in range(4):
        assert cells[:, frame].bincount().tolist() == [5] * 9
    assert not torch.equal(cells[:, 0], cells[:, 1])


def test_it_is_a_feature_source_with_true_boxes() -> None:
    env = FindThePatchVectorEnv(memory=True)
    assert isinstance(env.source, FeatureSource)
    # Our agents run on it as they are: one that is told, and one that learns.
    oracle = OracleAgent(env)
    assert all((one.reward.sum(1) == 3).all() for one in env.rollouts(oracle, epoch=0))
    agent = PPOAgent(env, PPOOptions(hidden=8, reduced_channels=2)).learn(env, epochs=1)
    assert agent.act(torch.zeros(2, 4, 1, 3, 3), {}).action.shape == (2, 4)


def test_continuous_positions_count_as_the_nearest() -> None:
    source = FindThePatchSource(grid=3, num_frames=2)
    episodes = source.episodes(torch.arange(9))
    exact = source.grid.position(episodes.cells)
    steps = torch.arange(2).expand(9, -1)
    near, far = (exact + 0.2).clamp(0, 1), 1 - exact
    assert episodes.local_at_position(steps, near).eq(1).all()
    middle = episodes.cells == 4
    assert torch.equal(episodes.local_at_position(steps, far)[..., 0] == 1, middle)


def test_the_picture_shows_the_lit_cell() -> None:
    source = FindThePatchSource(grid=3, num_frames=2, memory=True)
    frames = source.frames(5)
    assert (frames.shape, frames.dtype) == ((2, 3, 24, 24), torch.uint8)
    row, column = divmod(int(source.cells[5, 0]), 3)
    lit = frames[0, 0] == 255
    assert lit.sum() == CELL_SIDE**2
    assert lit[row * CELL_SIDE : (row + 1) * CELL_SIDE, column * CELL_SIDE : (column + 1) * CELL_SIDE].all()
    assert not frames[1].any()


@pytest.mark.parametrize("options", [{"grid": 1}, {"num_frames": 0}, {"num_frames": 1, "memory": True}])
def test_impossible_sizes_are_refused(options: Any) -> None:
    with pytest.raises(UserError, match="give at least"):
        FindThePatchVectorEnv(**options)


def test_gymnasium_makes_both_kinds() -> None:
    env: Any = gym.make("adafocus_rl:AdaFocus/FindThePatch-v0", memory=True, num_frames=3)
    cue, _ = env.reset(seed=0)
    rewards = [env.step(int(cue.argmax()))[1] for _ in range(3)]
    assert rewards == [0.0, 1.0, 1.0]
    envs: Any = gym.make_vec("adafocus_rl:AdaFocus/FindThePatch-v0", num_envs=7, grid=2)
    assert isinstance(envs, FindThePatchVectorEnv)
    assert envs.reset()[0].shape == (7, 1, 2, 2)
