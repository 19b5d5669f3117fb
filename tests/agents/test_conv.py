"""The convolutional π: its size, its interpolation, its memory, and agents that learn with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from gymnasium.spaces import Box, Dict, Discrete, Space
from hypothesis import given
from hypothesis import strategies as st

from adafocus_rl.agents import Agent, AllActionsAgent, DistilAgent, PolicyAgent, PPOAgent, PPOOptions
from adafocus_rl.agents.policies.conv import ConvActorCritic
from adafocus_rl.agents.policies.encoder import take_rows
from adafocus_rl.agents.policies.options import Cell
from adafocus_rl.agents.policies.resampling import interpolation, patch_weights
from adafocus_rl.envs import FindThePatchVectorEnv, FrameSkippingVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any
GRID = PatchGrid(grid=3, frame_size=12, patch_size=4)
MAP = Box(-9, 9, (2, 3, 3))
WITH_MORE = Dict({"features": MAP, "last_action": Box(-1, 1, (2,)), "time_step": Box(0, 1, (1,))})
CELLS: list[Cell] = ["gru", "lstm", "none"]


def network(
    space: Space[Any] = MAP, actions: int = 9, grid: PatchGrid = GRID, *, spread: float = 0.5, **options: Any
) -> ConvActorCritic:
    """A network with random weights everywhere, also where it begins with zeros."""
    torch.manual_seed(0)
    options = {"reduced_channels": 3, "conv_hidden": 8, "network": "conv", **options}
    made = ConvActorCritic(
        observation_space=space, action_space=Discrete(actions), grid=grid, options=PPOOptions(**options)
    )
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=spread)
    return made


def observed(space: Space[Any], *shape: int) -> Any:
    if isinstance(space, Dict):
        return {name: observed(part, *shape) for name, part in space.spaces.items()}
    return torch.randn(*shape, *(space.shape or ()))


def make_env(source: Any, **options: Any) -> PatchSelectionVectorEnv:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=source.vector_dim + source.local_dim, num_classes=3, hidden=8)
    return PatchSelectionVectorEnv(source, classifier, num_envs=3, **options)


def make(kind: type[PolicyAgent], env: Any, **options: Any) -> PolicyAgent:
    defaults = {"network": "conv", "reduced_channels": 3, "conv_hidden": 12}
    return kind(env, kind.Options(**{**defaults, **options}), seed=1)


# ---- the network ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_it_is_small_at_paper_size(cell: Cell) -> None:
    made = ConvActorCritic(
        observation_space=Box(0, 6, (1280, 7, 7)),
        action_space=Discrete(49),
        grid=PatchGrid(grid=7, frame_size=224, patch_size=96),
        options=PPOOptions(network="conv", cell=cell),
    )
    weights = sum(weight.numel() for weight in made.parameters())
    assert weights < 200_000
    assert cell != "gru" or round(weights, -3) == 93_000  # the docstring says so


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("space", [MAP, WITH_MORE])
@pytest.mark.parametrize("actions", [9, 2])
def test_a_sequence_equals_its_steps(cell: Cell, space: Space[Any], actions: int) -> None:
    made = network(space, actions, cell=cell)
    observation = observed(space, 4, 6)
    outputs, values = made.sequence(observation)
    assert outputs.shape == (4, 6, actions)
    state = made.initial_state(4)
    assert state.shape == (4, made.state_dim)
    for step in range(6):
        output, value, state = made.step(take_rows(observation, (slice(None), step)), state)
        torch.testing.assert_close(output, outputs[:, step], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(value, values[:, step], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("actions", [9, 2])
def test_what_depends_on_the_past(cell: Cell, actions: int) -> None:
    made = network(actions=actions, cell=cell)
    one = observed(MAP, 2, 5)
    other = one.clone()
    other[:, 1] += 1
    (before, _), (after, _) = made.sequence(one), made.sequence(other)
    assert torch.equal(before[:, 0], after[:, 0])
    assert torch.equal(before[:, 4], after[:, 4]) == (cell == "none")


@pytest.mark.parametrize("name", ["last_action", "time_step"])
def test_what_else_is_observed_matters(name: str) -> None:
    made = network(WITH_MORE)
    observation = observed(WITH_MORE, 2, 3)
    before, _ = made.sequence(observation)
    after, _ = made.sequence({**observation, name: observation[name] + 1})
    assert not torch.equal(before, after)


def test_a_new_network_prefers_no_position() -> None:
    """Uniform on an even map with the borders cut off: neither memory nor prior tell positions apart yet."""
    torch.manual_seed(0)
    made = ConvActorCritic(
        observation_space=Box(0, 1, (2, 9, 9)),
        action_space=Discrete(9),
        grid=PatchGrid(grid=3, frame_size=90, patch_size=50),
        options=PPOOptions(network="conv"),
    )
    logits, _ = made.sequence(torch.ones(1, 2, 2, 9, 9))
    torch.testing.assert_close(logits, logits[..., :1].expand_as(logits))


def test_all_positions_share_their_weights() -> None:
    """Without prior and memory of places, moving the map moves the logits."""
    torch.manual_seed(0)
    grid = PatchGrid(grid=7, frame_size=70, patch_size=10)
    made = ConvActorCritic(
        observation_space=Box(0, 1, (2, 7, 7)),
        action_space=Discrete(49),
        grid=grid,
        options=PPOOptions(network="conv", cell="none"),
    )
    small = torch.randn(1, 1, 2, 3, 3)
    one, other = (made.sequence(F.pad(small, pad))[0].view(7, 7) for pad in ((1, 3, 1, 3), (2, 2, 3, 1)))
    torch.testing.assert_close(one[1:4, 1:4], other[3:6, 2:5])


def test_other_spaces_are_refused() -> None:
    def create(space: Space[Any], actions: Space[Any]) -> None:
        ConvActorCritic(observation_space=space, action_space=actions, grid=GRID, options=PPOOptions(network="conv"))

    with pytest.raises(UserError, match=r"network=conv needs maps \(env\.observation=map\)"):
        create(Box(-9, 9, (5,)), Discrete(9))
    with pytest.raises(UserError, match=r"network=conv selects one of a number of actions.*env\.action_space=grid"):
        create(MAP, Box(0, 1, (2,)))
    with pytest.raises(UserError, match="batch_norm is True; give false with network=conv"):
        PPOOptions(network="conv", batch_norm=True)
    with pytest.raises(UserError, match="network is resnet; give paper or conv"):
        PPOOptions(network="resnet")  # type: ignore[arg-type]


# ---- interpolation --------------------------------------------------------------------------------------------------


@given(
    grid=st.integers(1, 6), patch=st.integers(1, 60), cells=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    points=st.integers(1, 4),
)  # fmt: skip
def test_weights_are_those_of_grid_sample(grid: int, patch: int, cells: tuple[int, int], points: int) -> None:
    patches = PatchGrid(grid=grid, frame_size=60, patch_size=patch)
    weights = patch_weights(patches, cells, points=points)
    torch.testing.assert_close(weights.sum(-1), torch.ones(grid * grid))
    values = torch.randn(1, 1, *cells, generator=torch.Generator().manual_seed(patch))
    top_left = patches.action_origin(torch.arange(grid * grid))
    inside = (torch.arange(points) + 0.5) / points * patch
    rows, columns = (2 * (top_left[:, axis, None] + inside) / 60 - 1 for axis in (0, 1))
    places = torch.stack(
        (columns[:, None].expand(-1, points, -1), rows[:, :, None].expand(-1, -1, points)), dim=-1
    ).flatten(1, 2)
    expected = F.grid_sample(values, places[None], padding_mode="border", align_corners=False)[0, 0].mean(-1)
    torch.testing.assert_close(weights @ values.flatten(), expected, rtol=1e-4, atol=1e-5)


def test_patches_that_are_cells_take_their_cells() -> None:
    assert torch.equal(patch_weights(GRID, (3, 3)), torch.eye(9))


def test_interpolation_between_places() -> None:
    found = interpolation(torch.tensor([-1.0, 0.0, 0.25, 1.5, 9.0]), 3)
    assert found.tolist() == [[1, 0, 0], [1, 0, 0], [0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 1]]


# ---- agents ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (PPOAgent, {"gae_lambda": 0.9}),
        (AllActionsAgent, {"ent_coef": 0.01}),
        (DistilAgent, {}),
        (DistilAgent, {"cell": "lstm"}),
    ],
)
@pytest.mark.parametrize("memory", [False, True])
def test_it_finds_the_patch(kind: type[PolicyAgent], options: dict[str, Any], memory: bool) -> None:
    env = FindThePatchVectorEnv(grid=3, num_frames=3, num_envs=32, videos_per_patch=32, memory=memory)
    agent = make(kind, env, reduced_channels=8, conv_hidden=32, learning_rate=0.01, n_epochs=4, **options)
    agent.learn(env, epochs=5)
    rollout = env.rollout(agent, episodes=env.source.episodes(env.source.videos), deterministic=True)
    assert rollout.reward.sum(1).mean() > 0.95 * env.best_return


def test_without_memory_it_cannot_remember() -> None:
    env = FindThePatchVectorEnv(num_envs=32, memory=True)
    agent = make(DistilAgent, env, cell="none", learning_rate=0.01).learn(env, epochs=2)
    rollout = env.rollout(agent, episodes=env.source.episodes(env.source.videos), deterministic=True)
    assert float(rollout.reward.sum(1).mean()) == pytest.approx(env.best_return_without_memory)


@pytest.mark.parametrize("kind", [PPOAgent, DistilAgent])
def test_saved_and_resumed_exactly(made_up: MadeUp, kind: type[PolicyAgent], tmp_path: Path) -> None:
    env = make_env(made_up(), time_step=True)
    options = {"n_minibatches": 2, "learning_rate": 0.01}
    whole = make(kind, env, **options).learn(env, epochs=3)
    half = make(kind, env, **options).learn(env, epochs=2)
    resumed = make(kind, env, **options)
    resumed.load_training_state(*half.training_state(), what="half")
    resumed.learn(env, epochs=3, start_epoch=2)
    for name, value in whole.tensors().items():
        assert torch.equal(value, resumed.tensors()[name]), name
    whole.save(tmp_path / "agent.safetensors")
    loaded = Agent.load(tmp_path / "agent.safetensors", env)
    assert type(loaded) is kind
    assert loaded.options == whole.options
    assert torch.equal(loaded.tensors()["policy.prior"], whole.tensors()["policy.prior"])


def test_it_acts_frame_by_frame_where_it_must(made_up: MadeUp) -> None:
    env = make_env(made_up(), last_action=True, time_step=True, motion=True)
    agent = make(PPOAgent, env)
    scalars = agent.train_epoch(env, 0, epochs=1)
    assert torch.tensor(list(scalars.values())).isfinite().all()


def test_it_decides_which_frames_to_skip(made_up: MadeUp) -> None:
    patches = make_env(made_up())
    env = FrameSkippingVectorEnv(patches, make(PPOAgent, patches), lambda_=0.01, num_envs=3)
    agent = make(PPOAgent, env)
    before = {name: value.clone() for name, value in agent.tensors().items()}
    agent.train_epoch(env, 0, epochs=1)
    assert not torch.equal(agent.tensors()["policy.actor.weight"], before["policy.actor.weight"])


def test_the_cost_of_a_decision(made_up: MadeUp) -> None:
    """One MAC for each weight and place: cells, summary, GRU, critic, logits of cells, interpolation."""
    env = make_env(made_up())
    c, h, cells, inputs = 3, 12, 9, 2
    expected = cells * (inputs * c + 9 * c * c) + cells * c * 4 + 4 * cells * h + 6 * h * h + h
    expected += h * c + h * cells + cells * c + cells * 9
    assert make(PPOAgent, env).macs_per_step() == expected
