"""PPO on every kind of action and observation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from adafocus_rl.agents import Agent, PPOAgent, PPOOptions
from adafocus_rl.agents.policies.options import Cell
from adafocus_rl.envs import FindThePatchVectorEnv, PatchSelectionVectorEnv, PolicyOutput, Rollout
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any
SPACES: list[dict[str, Any]] = [
    {"observation": "vector"},
    {"action_space": "continuous"},
    {"time_step": True},
    {"last_action": True},
    {"action_space": "continuous", "observation": "vector", "last_action": True, "time_step": True},
]


def _env(made_up: MadeUp, **options: Any) -> PatchSelectionVectorEnv:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    return PatchSelectionVectorEnv(made_up(), classifier, num_envs=3, **options)


def _agent(env: PatchSelectionVectorEnv, *, seed: int = 0, **options: Any) -> PPOAgent:
    return PPOAgent(env, PPOOptions(**{"reduced_channels": 3, "hidden": 12, **options}), seed=seed)


@pytest.mark.parametrize("cell", ["gru", "lstm", "none"])
@pytest.mark.parametrize("spaces", SPACES)
def test_step_by_step_equals_whole_episodes(made_up: MadeUp, spaces: dict[str, Any], cell: Cell) -> None:
    env = _env(made_up, **spaces)
    agent = _agent(env, cell=cell)
    observation, info = env.reset()
    state, start = None, torch.ones(3, dtype=torch.bool)
    for _ in range(2):
        expected = env.rollout(agent, episodes=env.source.episodes(info["video"]), deterministic=True)
        for step in range(4):
            action, state = agent.predict(observation, state, start, deterministic=True)
            torch.testing.assert_close(action, expected.output.action[:, step], rtol=0, atol=1e-5)
            observation, reward, start, _, info = env.step(action)
            torch.testing.assert_close(reward, expected.reward[:, step], rtol=0, atol=1e-5)


@pytest.mark.parametrize("spaces", SPACES)
def test_what_was_sampled_is_what_the_update_sees(made_up: MadeUp, spaces: dict[str, Any]) -> None:
    """Before the first step the ratio is 1 everywhere, also where an observation depends on what was chosen."""
    env = _env(made_up, **spaces)
    agent = _agent(env, ent_coef=0.0)
    rollout = env.rollout(agent)
    outputs, value = agent.network.sequence(rollout.observation)
    output = rollout.output
    assert output.sample is not None
    torch.testing.assert_close(output.value, value.detach())
    torch.testing.assert_close(output.log_prob, agent.network.distribution(outputs).log_prob(output.sample).detach())
    assert all(env.single_action_space.contains(one) for one in output.action.flatten(0, 1).numpy())
    scalars = agent.update(rollout)
    assert abs(float(scalars["train/approx_kl"])) < 1e-6
    assert all(value.isfinite() for value in scalars.values())


@pytest.mark.parametrize("learn_std", [False, True])
def test_one_update_of_positions_equals_an_independent_computation(made_up: MadeUp, learn_std: bool) -> None:
    env = _env(made_up, action_space="continuous")
    options = {"action_std": 0.4, "learn_std": learn_std, "learning_rate": 1e-3, "ent_coef": 0.02}
    agent, other = (_agent(env, **options) for _ in range(2))
    for one in (agent, other):
        one.network.double()
    draw = torch.Generator().manual_seed(3)
    observation = torch.randn(5, 4, 2, 3, 3, generator=draw, dtype=torch.float64)
    output: PolicyOutput = agent.act(observation, {})
    assert output.sample is not None
    # Some are clipped, or it would not matter which of the two the update takes.
    assert 0 < (output.sample != output.action).float().mean() < 1
    reward = torch.randn(5, 4, generator=draw, dtype=torch.float64)
    empty: Any = None
    episodes: Any = SimpleNamespace(share=1.0, join=lambda values: values)
    agent.update(
        Rollout(
            episodes=episodes,
            info={},
            observation=observation,
            output=output,
            reward=reward,
            logits=empty,
            states=empty,
        )
    )

    mean, value = other.network.sequence(observation)
    std = other.network.log_std.exp() if learn_std else torch.tensor(0.4, dtype=torch.float64)
    normal = torch.distributions.Normal(mean, std.expand_as(mean))
    density = normal.log_prob(output.sample).sum(-1).exp()
    returns = torch.zeros(5, 4, dtype=torch.float64)
    for t in range(4):
        for later in range(t, 4):
            returns[:, t] += 0.7 ** (later - t) * reward[:, later]
    target = (returns - returns.mean()) / (returns.std() + 1e-5)
    surrogate = density / density.detach() * (target - value.detach())
    loss = -surrogate.mean() + 0.5 * ((value - target) ** 2).mean() - 0.02 * normal.entropy().sum(-1).mean()
    loss.backward()
    names = dict(agent.network.named_parameters())
    assert ("log_std" in names) == learn_std
    for name, start in other.network.named_parameters():
        assert start.grad is not None
        expected = start - 1e-3 * start.grad / (start.grad.abs() + 1e-8)
        torch.testing.assert_close(names[name], expected, rtol=0, atol=1e-7)


def test_the_spread_is_saved_if_it_is_learnt(made_up: MadeUp, tmp_path: Any) -> None:
    env = _env(made_up, action_space="continuous")
    agent = _agent(env, learn_std=True, learning_rate=0.01)
    agent.learn(env, epochs=2)
    agent.save(tmp_path / "agent.safetensors")
    loaded = Agent.load(tmp_path / "agent.safetensors", env)
    assert isinstance(loaded, PPOAgent)
    assert torch.equal(loaded.network.log_std, agent.network.log_std)
    assert not torch.equal(loaded.network.log_std.exp(), torch.full((2,), 0.25))


@pytest.mark.parametrize("spaces", [{"observation": "vector"}, {"last_action": True, "time_step": True}])
def test_ppo_finds_the_patch_with_other_observations(spaces: dict[str, Any]) -> None:
    env = FindThePatchVectorEnv(grid=2, num_frames=3, num_envs=32, videos_per_patch=32, **spaces)
    agent = PPOAgent(env, PPOOptions(hidden=32, reduced_channels=4, learning_rate=0.01, n_epochs=4))
    agent.learn(env, epochs=4)
    rollout = env.rollout(agent, episodes=env.source.episodes(env.source.videos), deterministic=True)
    assert rollout.reward.sum(1).mean() > 0.95 * env.best_return


def test_ppo_finds_the_patch_at_any_position() -> None:
    env = FindThePatchVectorEnv(grid=2, num_frames=3, num_envs=32, videos_per_patch=32, action_space="continuous")
    agent = PPOAgent(env, PPOOptions(hidden=32, reduced_channels=4, learning_rate=0.01, n_epochs=4))
    agent.learn(env, epochs=8)
    rollout = env.rollout(agent, episodes=env.source.episodes(env.source.videos), deterministic=True)
    assert rollout.reward.sum(1).mean() > 0.95 * env.best_return


def test_batch_normalisation_while_learning_and_while_measured(made_up: MadeUp) -> None:
    env = _env(made_up, action_space="continuous")
    agent = _agent(env, batch_norm=True)
    terms: list[float] = []
    modes: list[bool] = []
    update = agent.update

    def recorded(rollout: Rollout, *args: Any, **options: Any) -> dict[str, torch.Tensor]:
        modes.append(agent.network.training)
        scalars = update(rollout, *args, **options)
        terms.append(float(scalars["train/approx_kl"]))
        return scalars

    agent.update = recorded  # type: ignore[method-assign]
    before = agent.network.state_encoder[1].running_mean.clone()
    agent.learn(env, epochs=2)
    # Actions are drawn with the statistics that they are learnt with: the ratio is 1.
    assert modes
    assert all(modes)
    assert terms == pytest.approx([0.0] * len(terms), abs=1e-6)
    assert not torch.equal(agent.network.state_encoder[1].running_mean, before)
    # Acting does not count: the statistics have moved once for each update.
    assert agent.network.state_encoder[1].num_batches_tracked == len(modes)
    assert not agent.network.training
    # Measured, a video is decided by itself.
    videos = env.source.videos[:3]
    together = env.rollout(agent, episodes=env.source.episodes(videos), deterministic=True).output.action
    alone = env.rollout(agent, episodes=env.source.episodes(videos[:1]), deterministic=True).output.action
    torch.testing.assert_close(together[:1], alone)


@pytest.mark.parametrize("last_action", [False, True])
def test_acting_leaves_batch_statistics_alone(made_up: MadeUp, last_action: bool) -> None:
    """Whole episodes and frame by frame, in training mode; the statistics of learning are those of one batch."""
    env = _env(made_up, last_action=last_action)
    agent = _agent(env, batch_norm=True)
    buffers = {name: value.clone() for name, value in agent.network.named_buffers()}
    agent.network.train()
    rollout = env.rollout(agent)
    assert {name for name, value in agent.network.named_buffers() if not torch.equal(value, buffers[name])} == set()
    convolution, norm = agent.network.state_encoder[:2]
    maps = rollout.observation["features"] if last_action else rollout.observation
    expected = 0.1 * convolution(maps.flatten(0, 1)).mean((0, 2, 3))
    agent.update(rollout)
    torch.testing.assert_close(norm.running_mean, expected)
