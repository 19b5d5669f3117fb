"""Agents that learn from the outcomes of all actions: exact gradient, distillation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from adafocus_rl.agents import Agent, AllActionsAgent, DistilAgent, PolicyAgent
from adafocus_rl.agents.all_actions import expected_loss
from adafocus_rl.agents.distil import target_distribution
from adafocus_rl.agents.policies.distributions import Categorical
from adafocus_rl.envs import FindThePatchVectorEnv, PatchSelectionVectorEnv, RewardConfig
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any
CLASSES = [AllActionsAgent, DistilAgent]


def make_env(source: Any, **options: Any) -> PatchSelectionVectorEnv:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=source.vector_dim + source.local_dim, num_classes=3, hidden=8)
    return PatchSelectionVectorEnv(source, classifier, num_envs=3, **options)


def make(kind: type[PolicyAgent], env: PatchSelectionVectorEnv, **options: Any) -> PolicyAgent:
    return kind(env, kind.Options(**{"reduced_channels": 3, "hidden": 12, **options}), seed=1)


@given(seed=st.integers(0, 999), actions=st.integers(2, 9))
def test_the_exact_gradient_in_closed_form(seed: int, actions: int) -> None:
    """d/dz_k of −Σ π r is −π_k (r_k − Σ π r) for a softmax with logits z."""
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(actions, generator=draw, dtype=torch.float64, requires_grad=True)
    reward = torch.randn(actions, generator=draw, dtype=torch.float64)
    pi = logits.softmax(-1)
    expected_loss(pi, reward).backward()
    expected = -(pi * (reward - (pi * reward).sum())).detach()
    torch.testing.assert_close(logits.grad, expected)


def test_the_exact_gradient_is_the_mean_of_sampled_ones() -> None:
    """10,000 samples of −r_a ∇ log π_a: each entry of the mean within 4 of its standard errors."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(6, generator=draw, dtype=torch.float64)
    reward = torch.rand(6, generator=draw, dtype=torch.float64)
    exact = logits.clone().requires_grad_()
    expected_loss(exact.softmax(-1), reward).backward()
    assert exact.grad is not None

    count = 10_000
    sampled = logits.expand(count, -1).clone().requires_grad_()
    policy = Categorical(sampled)
    action = policy.sample(torch.rand(count, generator=draw, dtype=torch.float64))
    (-policy.log_prob(action) * reward[action]).sum().backward()
    assert sampled.grad is not None
    standard_error = sampled.grad.std(0) / count**0.5
    assert float(((sampled.grad.mean(0) - exact.grad).abs() / standard_error).max()) < 4


@pytest.mark.parametrize("kind", CLASSES)
def test_the_best_policy_is_the_softmax_of_rewards_over_the_coefficient(kind: type[PolicyAgent]) -> None:
    """Both objectives have the same optimum: gradient zero there, and not zero beside it."""
    reward = torch.tensor([[[0.1, 0.3, 0.0, 0.2]]], dtype=torch.float64)
    agent: Any = make(kind, FindThePatchVectorEnv(grid=2, num_envs=3))
    targets = {"reward": reward, "target": target_distribution(reward, 0.1)}
    for shift in (0.0, 0.5):
        logits = (reward / 0.1 + shift * torch.arange(4)).requires_grad_()
        agent.loss(Categorical(logits), torch.zeros(1, 1), targets, progress=0.0)["loss"].backward()
        assert logits.grad is not None
        assert (float(logits.grad.abs().max()) < 1e-12) == (shift == 0)


def test_target_distributions() -> None:
    reward = torch.tensor([0.0, 0.1, 0.1])
    torch.testing.assert_close(target_distribution(reward, 0.0), torch.tensor([0.0, 0.5, 0.5]))
    torch.testing.assert_close(target_distribution(reward, 0.1), torch.tensor([0.0, 1.0, 1.0]).softmax(-1))


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("memory", [False, True])
def test_it_finds_the_patch(kind: type[PolicyAgent], memory: bool) -> None:
    env = FindThePatchVectorEnv(grid=2, num_frames=3, num_envs=32, videos_per_patch=32, memory=memory)
    options = {"ent_coef": 0.01} if kind is AllActionsAgent else {}
    agent = make(kind, env, hidden=32, reduced_channels=4, learning_rate=0.01, n_epochs=4, **options)
    agent.learn(env, epochs=8)
    rollout = env.rollout(agent, episodes=env.source.episodes(env.source.videos), deterministic=True)
    assert rollout.reward.sum(1).mean() > 0.95 * env.best_return


@pytest.mark.parametrize("kind", CLASSES)
def test_it_learns_the_best_patch_when_labels_leak(made_up: MadeUp, kind: type[PolicyAgent]) -> None:
    """The map shows the label, and each label has one patch that is right: the machinery must find it."""
    source = made_up(videos=48, frames=3)
    source.maps = torch.nn.functional.one_hot(source.labels, 9).float().view(-1, 1, 1, 3, 3).expand(-1, 3, 2, 3, 3)
    env = make_env(source, reward=RewardConfig(kind="confidence"))
    right = torch.tensor([7, 2, 5])

    class Leaking(GRUClassifier):
        """Certain of the true class after the right patch, and undecided after every other one."""

        def logits(self, states: Tensor) -> Tensor:
            return states[..., :3]

        def project(self, x: Tensor, first: int = 0) -> Tensor:
            return x if x.shape[-1] == 3 else x.new_zeros(*x.shape[:-1], 3)

        def projected_cells(self, projected: Tensor, shared: Tensor, state: Tensor) -> Tensor:
            return torch.nn.functional.pad(projected, (0, state.shape[-1] - 3))

    source.patches = torch.zeros(48, 3, 9, 3)
    rows = torch.arange(48)
    source.patches[rows, :, right[source.labels], source.labels[rows]] = 5.0
    source.local_dim = 3
    env = PatchSelectionVectorEnv(
        source, Leaking(input_dim=8, num_classes=3, hidden=8), num_envs=16, reward=RewardConfig(kind="confidence")
    )
    agent = make(kind, env, hidden=32, learning_rate=0.01, n_epochs=4)
    agent.learn(env, epochs=15)
    rollout = env.rollout(agent, episodes=source.episodes(source.videos), deterministic=True)
    share = (rollout.output.action == right[source.labels][:, None]).float().mean()
    assert share == 1


@pytest.mark.parametrize("kind", CLASSES)
def test_saved_and_resumed_exactly(made_up: MadeUp, kind: type[PolicyAgent], tmp_path: Path) -> None:
    env = make_env(made_up())
    whole = make(kind, env, n_minibatches=2, learning_rate=0.01).learn(env, epochs=3)
    half = make(kind, env, n_minibatches=2, learning_rate=0.01).learn(env, epochs=2)
    resumed = make(kind, env, n_minibatches=2, learning_rate=0.01)
    resumed.load_training_state(*half.training_state(), what="half")
    resumed.learn(env, epochs=3, start_epoch=2)
    for name, value in whole.tensors().items():
        assert torch.equal(value, resumed.tensors()[name]), name
    whole.save(tmp_path / "agent.safetensors")
    loaded = Agent.load(tmp_path / "agent.safetensors", env)
    assert type(loaded) is kind
    assert loaded.options == whole.options
    assert torch.equal(loaded.tensors()["policy.actor.weight"], whole.tensors()["policy.actor.weight"])


@pytest.mark.parametrize("kind", CLASSES)
def test_the_return_of_a_pass_is_the_rollouts_own(made_up: MadeUp, kind: type[PolicyAgent]) -> None:
    env = make_env(made_up(), reward=RewardConfig(baseline_positions=0), shuffle=False)
    agent = make(kind, env)
    agent.network.train()
    expected = torch.cat([rollout.reward.sum(1) for rollout in env.rollouts(agent, epoch=0)]).mean()
    agent.network.eval()
    agent.optimizer = torch.optim.Adam(agent.network.parameters(), lr=0)
    scalars = agent.train_epoch(env, 0, epochs=1)
    assert scalars["rollout/ep_rew_mean"] == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("kind", CLASSES)
def test_continuous_actions_are_refused(made_up: MadeUp, kind: type[PolicyAgent]) -> None:
    env = make_env(made_up(), action_space="continuous")
    with pytest.raises(UserError, match=rf"{kind.__name__} learns from the outcomes of all actions.*action_space=grid"):
        make(kind, env)
