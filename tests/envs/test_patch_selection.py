"""Step by step: Gymnasium's vector conventions."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import DictInfoToList
from torch import Tensor

from adafocus_rl.envs import PatchSelectionVectorEnv, RewardConfig
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any


def _env(made_up: MadeUp, *, videos: int = 7, **options: Any) -> PatchSelectionVectorEnv:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    options.setdefault("num_envs", 3)
    return PatchSelectionVectorEnv(made_up(videos=videos), classifier, **options)


def _play(env: PatchSelectionVectorEnv, steps: int) -> list[tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]]:
    return [env.step(torch.full((env.num_envs,), step % 9)) for step in range(steps)]


def test_the_spaces_contain_what_comes_out(made_up: MadeUp) -> None:
    env = _env(made_up)
    assert env.single_observation_space == gym.spaces.Box(-np.inf, np.inf, (2, 3, 3), np.float32)
    assert env.single_action_space == gym.spaces.Discrete(9)
    observation, _ = env.reset()
    assert observation.numpy() in env.observation_space
    assert env.action_space.sample().shape == (3,)
    for _ in range(6):
        observation, reward, terminated, truncated, _ = env.step(torch.from_numpy(env.action_space.sample()))
        assert observation.numpy() in env.observation_space
        assert observation[0].numpy() in env.single_observation_space
        assert (reward.shape, reward.dtype) == ((3,), torch.float32)
        assert (terminated.shape, terminated.dtype) == ((3,), torch.bool)
        assert (truncated.shape, truncated.any()) == ((3,), False)


def test_observations_come_frame_by_frame(made_up: MadeUp) -> None:
    env = _env(made_up, shuffle=False)
    observation, info = env.reset()
    assert info["video"].tolist() == [0, 1, 2]
    assert torch.equal(observation, env.source.maps[:3, 0])
    for step, (observation, *_) in enumerate(_play(env, 3), start=1):
        assert torch.equal(observation, env.source.maps[:3, step])


def test_same_step_returns_the_next_episode_and_the_final_one_aside(made_up: MadeUp) -> None:
    env = _env(made_up, shuffle=False)
    assert env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    env.reset()
    *before, (observation, _, terminated, _, info) = _play(env, 4)
    assert not any(one[2].any() for one in before)
    assert terminated.all()
    assert torch.equal(observation, env.source.maps[3:6, 0])
    assert info["video"].tolist() == [3, 4, 5]
    assert info["visit"].tolist() == [0, 0, 0]
    # There is no frame after the last one.
    assert torch.equal(info["final_obs"], env.source.maps[:3, 3])
    assert info["_final_obs"].all()
    assert info["_final_info"].all()
    assert info["final_info"]["video"].tolist() == [0, 1, 2]
    assert info["final_info"]["logits"].shape == (3, 3)
    assert "logits" not in info


def test_next_step_resets_with_the_following_call(made_up: MadeUp) -> None:
    env = _env(made_up, shuffle=False, autoreset_mode=AutoresetMode.NEXT_STEP)
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    env.reset()
    *_, last, reset, first = _play(env, 6)
    assert last[2].all()
    assert torch.equal(last[0], env.source.maps[:3, 3])
    assert last[4]["video"].tolist() == [0, 1, 2]
    assert last[4]["logits"].shape == (3, 3)
    assert torch.equal(reset[0], env.source.maps[3:6, 0])
    assert not reset[1].any()
    assert not reset[2].any()
    assert reset[4]["video"].tolist() == [3, 4, 5]
    assert torch.equal(first[0], env.source.maps[3:6, 1])
    assert first[1].any()


def test_without_autoreset_the_caller_resets(made_up: MadeUp) -> None:
    env = _env(made_up, autoreset_mode=AutoresetMode.DISABLED)
    env.reset()
    terminated = _play(env, 4)[-1][2]
    assert terminated.all()
    with pytest.raises(gym.error.ResetNeeded, match="episodes are over"):
        _play(env, 1)
    env.reset(options={"reset_mask": terminated.numpy()})
    assert not _play(env, 1)[0][2].any()


def test_step_before_reset(made_up: MadeUp) -> None:
    with pytest.raises(gym.error.ResetNeeded, match="before the first step"):
        _env(made_up).step(torch.zeros(3, dtype=torch.long))


class InfosAsArrays(gym.vector.VectorWrapper):
    def reset(self, **options: Any) -> Any:
        observation, info = self.env.reset(**options)
        return observation, self._arrays(info)

    def step(self, actions: Any) -> Any:
        *others, info = self.env.step(actions)
        return *others, self._arrays(info)

    def _arrays(self, info: Any) -> Any:
        return {name: self._arrays(value) for name, value in info.items()} if isinstance(info, dict) else info.numpy()


def test_infos_are_laid_out_as_gymnasium_s_wrappers_expect(made_up: MadeUp) -> None:
    env: Any = DictInfoToList(InfosAsArrays(_env(made_up, shuffle=False)))
    _, infos = env.reset()
    assert [int(info["video"]) for info in infos] == [0, 1, 2]
    assert infos[0].keys() == {"video", "label", "true_box", "visit", "motion"}
    for _ in range(4):
        *_, infos = env.step(torch.zeros(3, dtype=torch.long))
    assert [int(info["video"]) for info in infos] == [3, 4, 5]
    assert [int(info["final_info"]["video"]) for info in infos] == [0, 1, 2]
    assert infos[1]["final_info"]["logits"].shape == (3,)
    assert infos[1]["final_obs"].shape == (2, 3, 3)
    assert infos[1]["episode"].keys() == {"r", "l", "t"}
    assert [info["episode"]["l"] for info in infos] == [4, 4, 4]


def test_a_pass_holds_every_video_once_and_the_next_fills_up_the_batch(made_up: MadeUp) -> None:
    env = _env(made_up)
    rows, visits = [], []
    for _ in range(14):
        _, info = env.reset()
        rows += info["video"].tolist()
        visits += info["visit"].tolist()
    passes = [rows[start : start + 7] for start in range(0, 42, 7)]
    assert all(sorted(one) == list(range(7)) for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    assert visits == [number for number in range(6) for _ in range(7)]


def test_more_environments_than_videos(made_up: MadeUp) -> None:
    env = _env(made_up, videos=2, num_envs=5, shuffle=False)
    _, info = env.reset()
    assert info["video"].tolist() == [0, 1, 0, 1, 0]
    assert info["visit"].tolist() == [0, 0, 1, 1, 2]


def _rewards(env: PatchSelectionVectorEnv) -> Tensor:
    return torch.stack([one[1] for one in _play(env, 4)], dim=1)


def test_a_seed_starts_order_and_baselines_anew(made_up: MadeUp) -> None:
    env = _env(made_up)
    _, first = env.reset(seed=5)
    rewards = _rewards(env)
    _, again = env.reset(seed=np.int64(5))
    assert torch.equal(first["video"], again["video"])
    assert torch.equal(_rewards(env), rewards)
    videos = torch.tensor([4, 1, 6])
    env.reset(seed=5, options={"videos": videos})
    rewards = _rewards(env)
    env.reset(seed=6, options={"videos": videos})
    assert not torch.equal(_rewards(env), rewards)


def test_chosen_videos(made_up: MadeUp) -> None:
    env = _env(made_up)
    observation, info = env.reset(options={"videos": [4, 4, 0]})
    assert info["video"].tolist() == [4, 4, 0]
    assert torch.equal(observation, env.source.maps[[4, 4, 0], 0])
    with pytest.raises(UserError, match=r"shape \(2,\); this environment needs \(3,\)"):
        env.reset(options={"videos": [4, 4]})


def test_actions_of_another_shape_are_refused(made_up: MadeUp) -> None:
    env = _env(made_up)
    env.reset()
    with pytest.raises(UserError, match=r"shape \(3, 1\); this environment takes \(3,\)"):
        env.step(torch.zeros(3, 1, dtype=torch.long))


def test_impossible_settings_are_refused(made_up: MadeUp) -> None:
    with pytest.raises(UserError, match="unknown reward 'randon'; did you mean 'random'"):
        _env(made_up, reward=RewardConfig(kind="randon"))
    with pytest.raises(UserError, match="baseline_positions is -1"):
        _env(made_up, reward=RewardConfig(baseline_positions=-1))
    with pytest.raises(UserError, match="no usable video"):
        _env(made_up, videos=0)
    with pytest.raises(UserError, match="num_envs is 0"):
        _env(made_up, num_envs=0)


def test_the_classifier_is_frozen(made_up: MadeUp) -> None:
    env = _env(made_up)
    env.reset()
    *_, (_, reward, _, _, info) = _play(env, 4)
    assert not env.classifier.training
    assert not reward.requires_grad
    assert not info["final_info"]["logits"].requires_grad
