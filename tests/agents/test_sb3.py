"""Stable-Baselines3's algorithms as agents: act, learn, save and load as ours do, and are theirs."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from adafocus_rl import checkpoint
from adafocus_rl.agents import Agent, SB3Agent, SB3Options
from adafocus_rl.agents.sb3.options import Algorithm
from adafocus_rl.envs import PatchSelectionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any
ALGORITHMS: list[Algorithm] = ["PPO", "A2C", "RecurrentPPO"]
SPACES = [{}, {"action_space": "continuous", "observation": "vector"}, {"last_action": True, "time_step": True}]


def _env(made_up: MadeUp, **options: Any) -> PatchSelectionVectorEnv:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    return PatchSelectionVectorEnv(made_up(), classifier, num_envs=3, **options)


def _agent(env: PatchSelectionVectorEnv, algorithm: Algorithm = "PPO", *, seed: int = 0, **options: Any) -> SB3Agent:
    given = SB3Options(algorithm=algorithm, **{"reduced_channels": 3, "hidden": 12, **options})
    return SB3Agent(env, given, seed=seed)


def _weights(agent: SB3Agent) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in agent.tensors().values()])


# ---- acting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("spaces", SPACES)
def test_step_by_step_equals_whole_episodes(made_up: MadeUp, algorithm: Algorithm, spaces: dict[str, Any]) -> None:
    env = _env(made_up, **spaces)
    agent = _agent(env, algorithm)
    observation, info = env.reset()
    state, start = None, torch.ones(3, dtype=torch.bool)
    for _ in range(2):
        expected = env.rollout(agent, episodes=env.source.episodes(info["video"]), deterministic=True)
        for step in range(4):
            action, state = agent.predict(observation, state, start, deterministic=True)
            torch.testing.assert_close(action, expected.output.action[:, step])
            observation, _, start, _, info = env.step(action)
    assert env.single_action_space.contains(action[0].numpy())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("spaces", SPACES)
def test_actions_are_the_model_s_own(made_up: MadeUp, algorithm: Algorithm, spaces: dict[str, Any]) -> None:
    env = _env(made_up, **spaces)
    agent = _agent(env, algorithm)
    observation, _ = env.reset()
    ours, theirs = None, None
    for step in range(4):
        start = np.full(3, step == 0)
        array = {k: v.numpy() for k, v in observation.items()} if isinstance(observation, dict) else observation.numpy()
        expected, theirs = agent.model.predict(array, theirs, start, deterministic=True)
        action, ours = agent.predict(observation, ours, torch.from_numpy(start), deterministic=True)
        np.testing.assert_allclose(action.numpy(), expected, rtol=0, atol=1e-6)
        observation, *_ = env.step(action)


@pytest.mark.parametrize("action_space", ["grid", "continuous"])
def test_samples_have_the_probability_that_the_model_gives_them(made_up: MadeUp, action_space: Any) -> None:
    env = _env(made_up, action_space=action_space)
    agent = _agent(env)
    rollout = env.rollout(agent)
    output = rollout.output
    assert output.sample is not None
    assert output.log_prob is not None
    _, expected, _ = agent.model.policy.evaluate_actions(rollout.observation.flatten(0, 1), output.sample.flatten(0, 1))
    torch.testing.assert_close(output.log_prob.flatten(), expected.detach())
    assert torch.equal(output.action, output.sample.clamp(0, 1) if agent.continuous else output.sample)


def test_an_episode_start_resets_its_own_state_only(made_up: MadeUp) -> None:
    agent = _agent(_env(made_up), "RecurrentPPO")
    observation, spoilt = torch.randn(3, 2, 3, 3), torch.randn(3, 25)
    spoilt[1] = 100.0
    _, found = agent.predict(observation, spoilt, torch.tensor([False, True, False]))
    _, kept = agent.predict(observation, spoilt)
    _, fresh = agent.predict(observation)
    assert found is not None
    assert kept is not None
    assert fresh is not None
    torch.testing.assert_close(found[1, :24], fresh[1, :24])
    torch.testing.assert_close(found[[0, 2]], kept[[0, 2]])
    assert not torch.equal(found[0, :24], fresh[0, :24])


@pytest.mark.parametrize(("algorithm", "memory"), [("PPO", 0), ("A2C", 0), ("RecurrentPPO", 4 * 2 * 12 * 12)])
def test_macs_of_a_step(made_up: MadeUp, algorithm: Algorithm, memory: int) -> None:
    # 1×1 convolution, linear layer, the LSTM's gates, actor.
    env = _env(made_up)
    agent = _agent(env, algorithm)
    expected = 9 * 2 * 3 + 27 * 12 + memory + 12 * 9
    assert agent.macs_per_step() == expected
    # Training leaves a distribution behind in the policy, with its graph.
    assert agent.learn(env, epochs=1).macs_per_step() == expected


# ---- learning -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_pass_is_as_many_steps_as_there_are_frames(made_up: MadeUp, algorithm: Algorithm) -> None:
    """Seven videos of four frames, three at once, in rollouts of 12 steps: 28 steps a pass."""
    agent = _agent(_env(made_up), algorithm)
    heard: list[tuple[int, int, Mapping[str, float]]] = []
    before = _weights(agent)
    agent.learn(
        _env(made_up), epochs=4, callback=lambda done, values: heard.append((done, agent.model.num_timesteps, values))
    )
    assert [(done, steps) for done, steps, _ in heard] == [(1, 36), (2, 60), (3, 84), (4, 120)]
    assert not torch.equal(before, _weights(agent))
    for _, _, values in heard:
        assert values.keys() >= {"rollout/ep_rew_mean", "train/value_loss", "train/entropy_loss"}


def test_learning_is_stable_baselines3_s(made_up: MadeUp) -> None:
    """One pass equals the same model, taught without us."""
    from stable_baselines3 import PPO

    from adafocus_rl.envs.sb3_vec_env import SB3VecEnv
    from adafocus_rl.seeding import derive_seed, isolated

    agent = _agent(_env(made_up), seed=5, options={"n_epochs": 2, "batch_size": 6})
    theirs = PPO(
        "MlpPolicy",
        SB3VecEnv(_env(made_up)),
        n_steps=4,
        gamma=0.7,
        n_epochs=2,
        batch_size=6,
        policy_kwargs=agent.model.policy_kwargs,
        device=agent.model.device,
    )
    theirs.policy.load_state_dict(agent.model.policy.state_dict())
    agent.learn(_env(made_up), epochs=1)
    with isolated("sb3", 5, 0):
        theirs.env.seed(derive_seed(5, "sb3 videos", 0))
        theirs.learn(28)
    for name, value in theirs.policy.state_dict().items():
        assert torch.equal(value, agent.model.policy.state_dict()[name]), name


def test_learning_follows_from_the_seed(made_up: MadeUp) -> None:
    runs = [_agent(_env(made_up), seed=seed).learn(_env(made_up), epochs=2) for seed in (1, 1, 2)]
    assert torch.equal(_weights(runs[0]), _weights(runs[1]))
    assert not torch.equal(_weights(runs[0]), _weights(runs[2]))


def test_an_agent_leaves_generators_and_the_environment_s_seed_alone(made_up: MadeUp) -> None:
    env = _env(made_up, seed=4)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    _agent(env).learn(env, epochs=1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]
    _, found = env.reset(seed=4)
    _, expected = _env(made_up, seed=4).reset()
    assert torch.equal(found["video"], expected["video"])
    assert env.seed == 4


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_learning_is_resumed_exactly(made_up: MadeUp, tmp_path: Path, algorithm: Algorithm) -> None:
    path = tmp_path / "resume.safetensors"
    whole = _agent(_env(made_up), algorithm)

    def save(done: int, scalars: Mapping[str, float]) -> None:
        if done == 2:
            tensors, plain = whole.training_state()
            checkpoint.save(path, tensors=tensors, manifest={"training": plain})

    whole.learn(_env(made_up), epochs=4, callback=save)
    resumed = _agent(_env(made_up), algorithm)
    tensors, manifest = checkpoint.load(path)
    resumed.load_training_state(tensors, manifest["training"], what=str(path))
    resumed.learn(_env(made_up), epochs=4, start_epoch=2)
    assert torch.equal(_weights(resumed), _weights(whole))


# ---- saving, and mistakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("spaces", SPACES)
def test_a_saved_agent_acts_as_before(
    made_up: MadeUp, tmp_path: Path, algorithm: Algorithm, spaces: dict[str, Any]
) -> None:
    agent = _agent(_env(made_up, **spaces), algorithm, learning_rate=0.01, options={"ent_coef": 0.1})
    agent.learn(_env(made_up, **spaces), epochs=1)
    agent.save(tmp_path / "agent.safetensors")
    env = _env(made_up, **spaces)
    loaded = Agent.load(tmp_path / "agent.safetensors", env)
    assert isinstance(loaded, SB3Agent)
    assert (loaded.options, loaded.seed) == (agent.options, agent.seed)
    assert loaded.label == f"sb3_{algorithm.lower()}"
    assert loaded.model.ent_coef == 0.1
    episodes = env.source.episodes(torch.arange(7))
    found, expected = (env.rollout(one, episodes=episodes, deterministic=True).output for one in (loaded, agent))
    assert torch.equal(found.action, expected.action)


def test_an_agent_acts_where_it_cannot_learn(made_up: MadeUp) -> None:
    from gymnasium.vector import AutoresetMode

    env = _env(made_up, autoreset_mode=AutoresetMode.DISABLED)
    agent = _agent(env)
    env.rollout(agent)
    with pytest.raises(UserError, match="autoreset_mode is DISABLED"):
        agent.learn(env, epochs=1)


def test_an_agent_learns_on_as_many_videos_as_it_was_made_for(made_up: MadeUp) -> None:
    agent = _agent(_env(made_up))
    four = PatchSelectionVectorEnv(made_up(), _env(made_up).classifier, num_envs=4)
    with pytest.raises(UserError, match="made for 3 videos side by side and cannot learn on 4"):
        agent.learn(four, epochs=1)


def test_another_algorithm_s_checkpoint_is_refused(made_up: MadeUp, tmp_path: Path) -> None:
    agent = _agent(_env(made_up))
    recurrent = _agent(_env(made_up), "RecurrentPPO")
    with pytest.raises(UserError, match=r"another architecture: it lacks policy\.lstm_actor"):
        recurrent.load_tensors(agent.tensors(), what="x")


@pytest.mark.parametrize(
    ("option", "value"),
    [("algorithm", "DQN"), ("learning_rate", 0.0), ("gamma", 1.5), ("n_steps", 0), ("hidden", 0)],
)
def test_options_out_of_range_are_refused(made_up: MadeUp, option: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"^{option} is {value}; give "):
        _agent(_env(made_up), **{option: value})


@pytest.mark.parametrize("options", [{"epochs": 3}, {"batch_size": 1}])
def test_options_that_the_algorithm_does_not_take_are_refused(made_up: MadeUp, options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"Stable-Baselines3's PPO does not take agent\.options"):
        _agent(_env(made_up), options=options)


def test_recurrent_ppo_needs_its_package(made_up: MadeUp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    with pytest.raises(UserError, match=r"needs sb3-contrib, .*'adafocus_rl\[sb3\]', or take PPO or A2C"):
        _agent(_env(made_up), "RecurrentPPO")
    _agent(_env(made_up), "A2C")


@pytest.mark.slow
def test_stable_baselines3_is_not_loaded_before_it_is_wanted() -> None:
    script = "import sys, adafocus_rl.agents; sys.exit('stable_baselines3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=120).returncode == 0
