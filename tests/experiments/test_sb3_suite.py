"""What Stable-Baselines3 does to any environment, done to ours: its wrappers, callbacks and calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common import vec_env
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import set_random_seed

from adafocus_rl.agents import CenterAgent
from adafocus_rl.envs import FindThePatchVectorEnv, FrameSkippingVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.envs.sb3_vec_env import SB3VecEnv
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any
FIND = "adafocus_rl:AdaFocus/FindThePatch-v0"
T = 4


def _patches(made_up: MadeUp, **options: Any) -> PatchSelectionVectorEnv:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    return PatchSelectionVectorEnv(made_up(frames=T), classifier, num_envs=3, render_mode="rgb_array", **options)


def _skipping(made_up: MadeUp) -> FrameSkippingVectorEnv:
    patches = _patches(made_up, observation="vector")
    return FrameSkippingVectorEnv(patches, CenterAgent(patches), lambda_=0.01, render_mode="rgb_array")


ENVIRONMENTS: dict[str, Callable[[MadeUp], Any]] = {
    "patches": lambda made_up: _patches(made_up, observation="vector"),
    "dicts": lambda made_up: _patches(made_up, observation="vector", last_action=True, time_step=True),
    "positions": lambda made_up: _patches(made_up, observation="vector", action_space="continuous"),
    "skipping": _skipping,
    "find": lambda _: FindThePatchVectorEnv(num_envs=3, observation="vector", render_mode="rgb_array"),
}
WRAPPERS: dict[str, Callable[[Any], vec_env.VecEnvWrapper]] = {
    "VecNormalize": vec_env.VecNormalize,
    "VecMonitor": vec_env.VecMonitor,
    "VecFrameStack": lambda env: vec_env.VecFrameStack(env, n_stack=3),
    "VecCheckNan": vec_env.VecCheckNan,
    "VecMonitor of VecNormalize": lambda env: vec_env.VecMonitor(vec_env.VecNormalize(env)),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_wrappers(made_up: MadeUp, name: str, wrapper: str) -> None:
    env = WRAPPERS[wrapper](SB3VecEnv(ENVIRONMENTS[name](made_up)))
    env.seed(0)
    observation = env.reset()
    for step in range(2 * T):
        if "Normalize" not in wrapper:  # which leaves the space as it was
            first = {part: rows[0] for part, rows in observation.items()} if name == "dicts" else observation[0]
            assert env.observation_space.contains(first)
        actions = np.array([env.action_space.sample() for _ in range(3)])
        observation, reward, done, infos = env.step(actions)
        assert reward.shape == (3,)
        assert done.tolist() == [step % T == T - 1] * 3
    assert all(info["episode"]["l"] == T for info in infos)
    assert all("terminal_observation" in info for info in infos)
    pictures = env.get_images()
    assert [picture.shape for picture in pictures if picture is not None] == [pictures[0].shape] * 3  # type: ignore[union-attr]
    assert env.render("rgb_array").ndim == 3  # type: ignore[union-attr]
    env.close()


def test_calls(made_up: MadeUp) -> None:
    env = SB3VecEnv(_patches(made_up))
    assert env.render_mode == "rgb_array"
    assert env.seed(4) == [4, 5, 6]
    first = env.reset()
    env.reset()
    env.seed(4)
    assert (env.reset() == first).all()
    assert env.env_is_wrapped(Monitor) == [False] * 3
    assert env.get_attr("num_envs", indices=[0, 2]) == [3, 3]
    assert env.has_attr("problem")
    assert not env.has_attr("nothing")
    env.set_attr("shuffle", False)
    assert env.env.shuffle is False  # type: ignore[attr-defined]
    assert env.env_method("get_attr", "shuffle", indices=1) == [(False,) * 3]
    assert env.unwrapped is env


def test_vectors_of_single_environments(finished: Path) -> None:
    for options in ({}, {"action_space": "continuous", "last_action": True}):
        env = make_vec_env(FIND, n_envs=2, seed=3, env_kwargs=options, vec_env_cls=vec_env.DummyVecEnv)
        again = make_vec_env(FIND, n_envs=2, seed=3, env_kwargs=options, vec_env_cls=vec_env.DummyVecEnv)
        assert env.env_is_wrapped(Monitor) == [True, True]
        assert env.get_attr("render_mode") == ["rgb_array"] * 2  # SB3's choice, where there is one
        np.testing.assert_equal(env.reset(), again.reset())
        actions = np.array([env.action_space.sample() for _ in range(2)])
        np.testing.assert_equal(env.step(actions)[:3], again.step(actions)[:3])
        assert (env.render() == again.render()).all()  # type: ignore[union-attr]
    env = vec_env.DummyVecEnv([lambda: gym.make("adafocus_rl:AdaFocus/PatchSelection-v0", run=str(finished))])
    env.seed(1)
    assert env.reset().shape == (1, 4096)
    assert env.step(np.array([4]))[1].shape == (1,)


def test_learning_with_a_callback_that_evaluates(made_up: MadeUp, tmp_path: Path) -> None:
    """Seeded twice, with everything around it that a script of SB3's zoo puts there."""
    rewards = []
    for _ in range(2):
        set_random_seed(1)
        env = vec_env.VecNormalize(vec_env.VecMonitor(SB3VecEnv(_patches(made_up, observation="vector"))), gamma=0.7)
        held_out = vec_env.VecNormalize(
            vec_env.VecMonitor(SB3VecEnv(_patches(made_up, observation="vector", shuffle=False))), training=False
        )
        callback = EvalCallback(
            held_out,
            n_eval_episodes=6,
            eval_freq=8,
            best_model_save_path=str(tmp_path),
            verbose=0,
            log_path=str(tmp_path),
        )
        model = PPO("MlpPolicy", env, n_steps=8, batch_size=12, n_epochs=1, seed=1, device="cpu")
        model.learn(48, callback=callback)
        assert (tmp_path / "best_model.zip").is_file()
        assert len(model.ep_info_buffer or []) == 12
        held_out.seed(0)
        mean, _ = evaluate_policy(model, held_out, n_eval_episodes=3)
        rewards.append((mean, callback.best_mean_reward))
    assert rewards[0] == rewards[1]
    alone = Monitor(gym.make(FIND))
    model = PPO("MlpPolicy", alone, n_steps=8, batch_size=8, device="cpu")
    assert 0 <= evaluate_policy(model, alone, n_eval_episodes=2)[0] <= T  # type: ignore[operator]
