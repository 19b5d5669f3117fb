"""Stable-Baselines3's vector environment: its manners, and the same rewards."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor

from adafocus_rl.envs import FindThePatchVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.envs.sb3_vec_env import SB3VecEnv
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any


def _vector(made_up: MadeUp, **options: Any) -> PatchSelectionVectorEnv:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    return PatchSelectionVectorEnv(made_up(), classifier, **{"num_envs": 3, **options})


def _actions(steps: int) -> Any:
    return np.random.default_rng(0).integers(0, 9, (steps, 3))


def test_every_step_is_the_vector_environment_s(made_up: MadeUp) -> None:
    env, vector = SB3VecEnv(_vector(made_up)), _vector(made_up)
    assert (env.num_envs, env.action_space) == (3, gym.spaces.Discrete(9))
    observation = env.reset()
    expected, facts = vector.reset()
    np.testing.assert_array_equal(observation, expected.numpy())
    assert [info["video"] for info in env.reset_infos] == facts["video"].tolist()
    for actions in _actions(9):
        observation, reward, done, infos = env.step(actions)
        expected, rewards, terminated, _, facts = vector.step(torch.from_numpy(actions))
        assert (observation.dtype, reward.dtype, done.dtype) == (np.float32, np.float32, np.bool_)
        np.testing.assert_array_equal(observation, expected.numpy())
        np.testing.assert_array_equal(reward, rewards.numpy())
        np.testing.assert_array_equal(done, terminated.numpy())
        assert [info["TimeLimit.truncated"] for info in infos] == [False] * 3
        facts = facts.get("final_info", facts)
        for row, info in enumerate(infos):
            assert info["video"] == facts["video"][row]
            np.testing.assert_array_equal(info["logits"], facts["logits"][row].numpy())
            assert ("terminal_observation" in info) == done[row]


def test_the_end_of_an_episode(made_up: MadeUp) -> None:
    vector = _vector(made_up, shuffle=False)
    env = SB3VecEnv(vector)
    env.reset()
    for actions in _actions(4):
        observation, _, done, infos = env.step(actions)
    assert done.all()
    maps = vector.source.maps.numpy()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(observation, maps[3:6, 0])
    for row, info in enumerate(infos):
        np.testing.assert_array_equal(info["terminal_observation"], maps[row, 3])
        assert info["video"] == row
        assert env.reset_infos[row]["video"] == row + 3
        assert not {"final_info", "final_obs", "terminal_observation", "logits"} & env.reset_infos[row].keys()


class Half(gym.vector.VectorEnv[torch.Tensor, torch.Tensor, torch.Tensor]):
    """In its first step, environment 0 terminates, 1 is truncated, 2 is both, 3 goes on."""

    def __init__(self) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.num_envs = 4
        self.single_observation_space = gym.spaces.Dict({"x": gym.spaces.Box(-9, 9, (1,), np.float32)})
        self.single_action_space = gym.spaces.Box(0, 1, (2,), np.float32)
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, 4)
        self.seeds: list[Any] = []

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.seeds.append(seed)
        return {"x": torch.zeros(4, 1)}, {}

    def step(self, actions: torch.Tensor) -> Any:
        ends = torch.tensor([True, False, True, False]), torch.tensor([False, True, True, False])
        done = ends[0] | ends[1]
        info = {
            "final_obs": {"x": torch.arange(4.0)[:, None]}, "_final_obs": done,
            "final_info": {"fact": torch.arange(4), "_fact": done}, "_final_info": done,
            "episode": {"r": torch.arange(4.0), "l": torch.ones(4).long(), "t": torch.zeros(4)}, "_episode": done,
            "fact": torch.arange(10, 14), "_fact": torch.ones(4).bool(),
        }  # fmt: skip
        return {"x": actions.sum(1, keepdim=True)}, torch.arange(4.0), *ends, info

    def double(self, number: int) -> int:
        return 2 * number


def test_environments_may_end_one_by_one() -> None:
    env = SB3VecEnv(Half())
    env.reset()
    observation, reward, done, infos = env.step(np.full((4, 2), 0.25, dtype=np.float32))
    assert observation["x"].tolist() == [[0.5]] * 4
    assert reward.tolist() == [0, 1, 2, 3]
    assert done.tolist() == [True, True, True, False]
    assert [info["TimeLimit.truncated"] for info in infos] == [False, True, False, False]
    assert [info["fact"] for info in infos] == [0, 1, 2, 13]
    assert infos[1]["terminal_observation"]["x"].tolist() == [1.0]
    assert infos[2]["episode"] == {"r": 2.0, "l": 1, "t": 0.0}
    assert [type(value) for value in infos[2]["episode"].values()] == [float, int, float]
    assert env.reset_infos == [{"fact": 10}, {"fact": 11}, {"fact": 12}, {}]
    assert not {"episode", "terminal_observation"} & infos[3].keys()


def test_one_environment_seen_as_many() -> None:
    vector = Half()
    env = SB3VecEnv(vector)
    assert env.get_attr("num_envs") == [4] * 4
    assert env.get_attr("num_envs", indices=[0, 2]) == [4] * 2
    assert env.env_method("double", 3, indices=1) == [6]
    assert env.env_is_wrapped(gym.Wrapper) == [False] * 4
    env.set_attr("num", 5)
    assert vector.num == 5  # type: ignore[attr-defined]
    assert env.has_attr("num")
    assert not env.has_attr("nothing")


def test_a_seed_is_used_once() -> None:
    vector = Half()
    env = SB3VecEnv(vector)
    env.seed(7)
    env.reset()
    env.reset()
    assert vector.seeds == [7, None]


def test_a_seed_repeats_the_episodes(made_up: MadeUp) -> None:
    env = SB3VecEnv(_vector(made_up))
    seen = []
    for _ in range(2):
        env.seed(3)
        env.reset()
        rewards = [env.step(actions)[1] for actions in _actions(8)]
        seen.append(([info["video"] for info in env.reset_infos], np.stack(rewards).tolist()))
    assert seen[0] == seen[1]


def test_videos_may_be_chosen(made_up: MadeUp) -> None:
    env = SB3VecEnv(_vector(made_up))
    env.set_options([{"video": row} for row in (4, 4, 0)])
    env.reset()
    assert [info["video"] for info in env.reset_infos] == [4, 4, 0]
    env.reset()
    assert [info["video"] for info in env.reset_infos] != [4, 4, 0]
    for options in ({"videos": [1, 2, 3]}, [{"video": 1}, {}, {}]):
        env.set_options(options)
        with pytest.raises(UserError, match=r"give \{'video': row\} for each of the 3"):
            env.reset()


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_it_resets_within_the_step(made_up: MadeUp, mode: AutoresetMode) -> None:
    with pytest.raises(UserError, match=f"autoreset_mode is {mode.name}"):
        SB3VecEnv(_vector(made_up, autoreset_mode=mode))


class _Record(BaseCallback):
    """Everything that training did."""

    def __init__(self) -> None:
        super().__init__()
        self.actions: list[Any] = []
        self.rewards: list[Any] = []
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        self.actions.append(self.locals["actions"].copy())
        self.rewards.append(self.locals["rewards"].copy())
        self.returns += [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
        return True


@pytest.mark.parametrize("monitor", [True, False])
def test_ppo_trains_and_is_paid_what_the_vector_environment_pays(made_up: MadeUp, monitor: bool) -> None:
    record = _Record()
    env: Any = SB3VecEnv(_vector(made_up))
    # Without a monitor, the environment's own count of returns.
    env = VecMonitor(env) if monitor else env
    model = PPO("MlpPolicy", env, n_steps=8, batch_size=12, n_epochs=1, seed=1, device="cpu")
    before = [weight.clone() for weight in model.policy.parameters()]
    model.learn(48, callback=record)
    assert any(not torch.equal(old, new) for old, new in zip(before, model.policy.parameters(), strict=True))
    vector = _vector(made_up)
    vector.reset(seed=1)
    paid = torch.stack([vector.step(torch.from_numpy(actions))[1] for actions in record.actions])
    assert paid.shape == (16, 3)
    np.testing.assert_array_equal(np.stack(record.rewards), paid.numpy())
    np.testing.assert_allclose(record.returns, paid.view(4, 4, 3).sum(1).flatten().numpy(), atol=1e-5)


def test_ppo_takes_dicts_and_gives_positions() -> None:
    env = SB3VecEnv(FindThePatchVectorEnv(num_envs=4, action_space="continuous", last_action=True, time_step=True))
    PPO("MultiInputPolicy", env, n_steps=8, batch_size=16, n_epochs=1, device="cpu").learn(64)


@pytest.mark.slow
def test_ppo_of_stable_baselines_finds_the_patch() -> None:
    env = SB3VecEnv(FindThePatchVectorEnv(num_envs=16, grid=2, num_frames=3))
    model = PPO("MlpPolicy", env, n_steps=32, batch_size=128, learning_rate=3e-3, seed=0, device="cpu").learn(6000)
    mean, _ = evaluate_policy(model, env, n_eval_episodes=32, warn=False)
    assert mean == 3
