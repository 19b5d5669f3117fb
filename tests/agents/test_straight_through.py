"""Agents with a straight-through gradient: through the features of all patches, and through crops of the map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from adafocus_rl.agents import Agent, MapCropAgent, PolicyAgent, PPOAgent, SoftPatchAgent, SoftPatchOptions
from adafocus_rl.agents.policies.distributions import Categorical
from adafocus_rl.agents.policies.straight_through import (
    StraightThroughOptions,
    gumbel_softmax,
    noise_given,
    straight_through,
)
from adafocus_rl.envs import FindThePatchVectorEnv, FrameSkippingVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import AveragingClassifier, GRUClassifier, sequence_loss

MadeUp = Any
CLASSES = [SoftPatchAgent, MapCropAgent]


def make_env(source: Any, **options: Any) -> PatchSelectionVectorEnv:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=source.vector_dim + source.local_dim, num_classes=3, hidden=8)
    return PatchSelectionVectorEnv(source, classifier, num_envs=3, **options)


def make(kind: type[PolicyAgent], env: Any, **options: Any) -> Any:
    return kind(env, kind.Options(**{"reduced_channels": 3, "hidden": 12, **options}), seed=1)


# ---- the estimator --------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 999), actions=st.integers(2, 9), temperature=st.floats(0.1, 3))
def test_the_value_is_the_sample_and_the_gradient_the_mixtures(seed: int, actions: int, temperature: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(4, actions, generator=draw, dtype=torch.float64)
    uniform = torch.rand(4, actions, generator=draw, dtype=torch.float64)
    action = Categorical(logits).sample(torch.rand(4, generator=draw, dtype=torch.float64))
    slope = torch.randn(4, actions, generator=draw, dtype=torch.float64)

    one = logits.clone().requires_grad_()
    weights = straight_through(one, action, uniform, temperature=temperature)
    assert torch.equal(weights, F.one_hot(action, actions).double())
    (weights * slope).sum().backward()

    other = logits.clone().requires_grad_()
    mixture = ((other + noise_given(logits, action, uniform)) / temperature).softmax(-1)
    (mixture * slope).sum().backward()
    torch.testing.assert_close(one.grad, other.grad)
    expected = mixture * (slope - (mixture * slope).sum(-1, keepdim=True)) / temperature
    torch.testing.assert_close(one.grad, expected.detach())


def test_gumbel_softmax_samples_the_softmax() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
    uniform = torch.rand(20_000, 3, generator=draw, dtype=torch.float64)
    weights = gumbel_softmax(logits, uniform, temperature=0.7)
    noisy = logits.detach() - (-uniform.log()).log()
    assert torch.equal(weights, F.one_hot(noisy.argmax(-1), 3).double())
    torch.testing.assert_close(weights.detach().mean(0), logits.detach().softmax(-1), atol=0.01, rtol=0)
    (found,) = torch.autograd.grad(weights[:, 1].sum(), logits)
    mixture = ((logits - (-uniform.log()).log()) / 0.7).softmax(-1)
    (expected,) = torch.autograd.grad(mixture[:, 1].sum(), logits)
    torch.testing.assert_close(found, expected)


@given(seed=st.integers(0, 999), actions=st.integers(1, 9), scale=st.floats(0, 50))
def test_the_sample_has_the_largest_noisy_logit(seed: int, actions: int, scale: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(5, actions, generator=draw)
    uniform = torch.rand(5, actions, generator=draw, dtype=torch.float64)
    uniform[0] = 0.0
    action = torch.randint(actions, (5,), generator=draw)
    noise = noise_given(logits, action, uniform)
    assert noise.isfinite().all()
    chosen = (logits + noise).gather(-1, action[:, None])
    assert ((logits + noise) <= chosen + 1e-4 * scale).all()


def test_noise_over_samples_is_plain_gumbel_noise() -> None:
    """Mean γ = 0.577, variance π²/6, no correlation: 100,000 samples, within 4 standard errors."""
    draw = torch.Generator().manual_seed(0)
    count = 100_000
    logits = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64).expand(count, -1)
    action = Categorical(logits).sample(torch.rand(count, generator=draw, dtype=torch.float64))
    noise = noise_given(logits, action, torch.rand(count, 3, generator=draw, dtype=torch.float64))
    deviation = (torch.pi**2 / 6) ** 0.5
    assert ((noise.mean(0) - 0.5772).abs() < 4 * deviation / count**0.5).all()
    # A Gumbel variable has kurtosis 5.4, hence the variance of a squared deviation.
    assert ((noise.var(0) - deviation**2).abs() < 4 * deviation**2 * (4.4 / count) ** 0.5).all()
    assert ((torch.corrcoef(noise.T) - torch.eye(3)).abs() < 4 / count**0.5).all()


# ---- through f_C ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", ["all", "last"])
def test_the_gradient_through_a_linear_classifier_in_closed_form(made_up: MadeUp, steps: str) -> None:
    """f_C averages logits: d CE / d w_tk = Σ_s≥t (softmax − one-hot)_s / (s B T) · W_l l_tk, for all steps."""
    source = made_up(videos=3)
    torch.manual_seed(0)
    classifier = AveragingClassifier(input_dim=11, num_classes=3, dropout=0.8)
    env = PatchSelectionVectorEnv(source, classifier, num_envs=3)
    agent = make(SoftPatchAgent, env, loss_steps=steps)
    agent._problem = env.problem
    rollout = env.rollout(agent, episodes=source.episodes(source.videos))
    constants = agent.constants(rollout)
    weights = F.one_hot(rollout.output.action, 9).float().requires_grad_()
    logits = agent.recognise(weights, constants)
    torch.testing.assert_close(logits, rollout.logits if steps == "all" else rollout.logits[:, -1:])
    sequence_loss(logits, source.labels).backward()

    error = rollout.logits.softmax(-1) - F.one_hot(source.labels, 3)[:, None]
    share = torch.tril(torch.ones(4, 4)) / torch.arange(1, 5)[:, None]  # of frame t in the mean logits after s frames
    share = share / 4 if steps == "all" else share * (torch.arange(4) == 3)[:, None]
    products = source.patches @ classifier.fc.weight[:, 5:].T
    expected = torch.einsum("st,bsk,btak->bta", share, error, products) / 3
    torch.testing.assert_close(weights.grad, expected)


@pytest.mark.parametrize("kind", CLASSES)
def test_frozen_networks_get_no_gradient(made_up: MadeUp, kind: type[PolicyAgent]) -> None:
    env = make_env(made_up())
    before = [weight.clone() for weight in env.classifier.parameters()]
    agent = make(kind, env)
    first = {name: value.clone() for name, value in agent.tensors().items()}
    agent.train_epoch(env, 0, epochs=1)
    assert all(weight.grad is None for weight in env.classifier.parameters())
    assert all(map(torch.equal, env.classifier.parameters(), before))
    changed = {name for name, value in agent.tensors().items() if not torch.equal(value, first[name])}
    assert changed == {name for name in first if "critic" not in name}


# ---- through the map ------------------------------------------------------------------------------------------------


def test_a_crop_that_covers_whole_cells_is_their_mean(made_up: MadeUp) -> None:
    """Frames of 12 pixels, patches of 4, map of 3×3: each patch is one cell; patches of 8 cover 2×2."""
    source = made_up()
    agent = make(MapCropAgent, make_env(source))
    assert torch.equal(agent.crops, torch.eye(9))
    source.grid = type(source.grid)(grid=2, frame_size=12, patch_size=8)
    source.patches = source.patches[:, :, :4]
    agent = make(MapCropAgent, make_env(source))
    values = torch.randn(3, 3)
    expected = F.avg_pool2d(values[None], 2, stride=1).flatten()
    torch.testing.assert_close(agent.crops @ values.flatten(), expected)


def test_logits_of_the_video_are_those_of_the_mean_crop(made_up: MadeUp) -> None:
    source = made_up()
    env = make_env(source)
    agent = make(MapCropAgent, env)
    rollout = env.rollout(agent, episodes=source.episodes(source.videos))
    weights = F.one_hot(rollout.output.action, 9).float()
    logits = agent.recognise(weights, agent.constants(rollout))
    cells = source.maps.flatten(3).gather(3, rollout.output.action[..., None, None].expand(-1, -1, 2, 1)).squeeze(-1)
    torch.testing.assert_close(logits, agent.head(cells.mean(1))[:, None])


def test_map_crop_finds_where_the_map_shows_the_class(made_up: MadeUp) -> None:
    """One cell of each frame shows the class, the others another one: only π can tell it by its mark."""
    source = made_up(videos=64, frames=2)
    draw = torch.Generator().manual_seed(0)
    cells = torch.randint(9, (64, 2), generator=draw)
    shown = torch.randint(3, (64, 2, 9), generator=draw)
    shown.scatter_(2, cells[..., None], source.labels[:, None, None].expand(-1, 2, 1))
    mark = F.one_hot(cells, 9)[..., None].float()
    source.maps = torch.cat((F.one_hot(shown, 3) * (0.2 + mark), mark), dim=-1).movedim(-1, 2).unflatten(-1, (3, 3))
    source.map_shape = (4, 3, 3)
    env = PatchSelectionVectorEnv(source, make_env(source).classifier, num_envs=32)
    agent = make(MapCropAgent, env, network="conv", conv_hidden=16, reduced_channels=8, learning_rate=0.02, n_epochs=4)
    agent.learn(env, epochs=12)
    rollout = env.rollout(agent, episodes=source.episodes(source.videos), deterministic=True)
    assert (rollout.output.action == cells).float().mean() == 1


# ---- both -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["paper", "conv"])
@pytest.mark.parametrize("memory", [False, True])
def test_soft_patch_finds_the_patch(network: str, memory: bool) -> None:
    env = FindThePatchVectorEnv(grid=2, num_frames=3, num_envs=32, videos_per_patch=32, memory=memory)
    sizes = {"hidden": 32, "conv_hidden": 32, "reduced_channels": 4}
    agent = make(SoftPatchAgent, env, network=network, learning_rate=0.01, n_epochs=4, **sizes)
    agent.learn(env, epochs=8)
    rollout = env.rollout(agent, episodes=env.source.episodes(env.source.videos), deterministic=True)
    assert rollout.reward.sum(1).mean() > 0.95 * env.best_return


def test_soft_patch_learns_the_best_patch_when_labels_leak(made_up: MadeUp) -> None:
    """The map shows the label, and each label has one patch that shows it to f_C, too."""
    source = made_up(videos=48, frames=3)
    source.maps = F.one_hot(source.labels, 9).float().view(-1, 1, 1, 3, 3).expand(-1, 3, 2, 3, 3)
    right, rows = torch.tensor([7, 2, 5]), torch.arange(48)
    source.patches = torch.zeros(48, 3, 9, 3)
    source.patches[rows, :, right[source.labels], source.labels[rows]] = 5.0
    source.local_dim = 3
    classifier = AveragingClassifier(input_dim=8, num_classes=3)
    torch.nn.init.zeros_(classifier.fc.bias)
    classifier.fc.weight.data = F.pad(torch.eye(3), (5, 0))
    env = PatchSelectionVectorEnv(source, classifier, num_envs=16)
    agent = make(SoftPatchAgent, env, hidden=32, learning_rate=0.01, n_epochs=4)
    agent.learn(env, epochs=15)
    rollout = env.rollout(agent, episodes=source.episodes(source.videos), deterministic=True)
    assert (rollout.output.action == right[source.labels][:, None]).float().mean() == 1


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("network", ["paper", "conv"])
def test_saved_and_resumed_exactly(made_up: MadeUp, kind: type[PolicyAgent], network: str, tmp_path: Path) -> None:
    env = make_env(made_up())
    options = {"network": network, "n_minibatches": 2, "learning_rate": 0.01, "max_grad_norm": 0.1}
    whole = make(kind, env, **options).learn(env, epochs=3)
    half = make(kind, env, **options).learn(env, epochs=2)
    resumed = make(kind, env, **options)
    resumed.load_training_state(*half.training_state(), what="half")
    resumed.learn(env, epochs=3, start_epoch=2)
    for name, value in whole.tensors().items():
        assert torch.equal(value, resumed.tensors()[name]), name
    assert ("head.weight" in whole.tensors()) == (kind is MapCropAgent)
    whole.save(tmp_path / "agent.safetensors")
    loaded = Agent.load(tmp_path / "agent.safetensors", env)
    assert type(loaded) is kind
    assert loaded.options == whole.options
    for name, value in whole.tensors().items():
        assert torch.equal(value, loaded.tensors()[name]), name


def test_the_linear_layer_is_checked_before_anything_is_loaded(made_up: MadeUp) -> None:
    agent = make(MapCropAgent, make_env(made_up()))
    before = agent.network.actor.weight.clone()
    tensors: dict[str, Tensor] = {name: value + 1 for name, value in agent.tensors().items()}
    with pytest.raises(UserError, match=r"another architecture: head\.weight has shape \(4, 2\)"):
        agent.load_tensors({**tensors, "head.weight": torch.zeros(4, 2)}, what="other")
    assert torch.equal(agent.network.actor.weight, before)


@pytest.mark.parametrize("kind", CLASSES)
def test_actions_that_are_not_positions_are_refused(made_up: MadeUp, kind: type[PolicyAgent]) -> None:
    with pytest.raises(UserError, match=rf"{kind.__name__} selects positions of the grid.*env\.action_space=grid"):
        make(kind, make_env(made_up(), action_space="continuous"))
    patches = make_env(made_up())
    skipping = FrameSkippingVectorEnv(patches, make(PPOAgent, patches), lambda_=0.01, num_envs=3)
    with pytest.raises(UserError, match=rf"{kind.__name__} selects positions of the grid"):
        make(kind, skipping)


def test_ranges() -> None:
    with pytest.raises(UserError, match=r"temperature is 0\.0; give a number above 0"):
        StraightThroughOptions(temperature=0.0)
    with pytest.raises(UserError, match="loss_steps is first; give all or last"):
        SoftPatchOptions(loss_steps="first")  # type: ignore[arg-type]
