"""Agents with patches of several scales: who chooses a scale, how, and that learners find the right one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gymnasium.spaces import Box, Discrete

from adafocus_rl.agents import (
    Agent,
    AllActionsAgent,
    BestPatchAgent,
    CenterAgent,
    DistilAgent,
    GaussianAgent,
    HeuristicAgent,
    MapCropAgent,
    MotionAgent,
    OracleAgent,
    PolicyAgent,
    PPOAgent,
    PPOOptions,
    RandomAgent,
    SoftPatchAgent,
)
from adafocus_rl.agents.methods.outcome import Cost, Steps
from adafocus_rl.agents.policies.conv import ConvActorCritic
from adafocus_rl.agents.policies.resampling import patch_weights
from adafocus_rl.agents.policies.shifts import MapShift
from adafocus_rl.envs import Counterfactuals, FindThePatchVectorEnv, PatchSelectionVectorEnv, RewardConfig
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any
SCALES = (0.5, 1.0, 2.0)
GRID = PatchGrid(grid=3, frame_size=12, patch_size=4, scales=SCALES)


def _env(made_up: MadeUp, *, space: dict[str, Any] | None = None, **source: Any) -> PatchSelectionVectorEnv:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    return PatchSelectionVectorEnv(made_up(patch_scales=SCALES, **source), classifier, num_envs=3, **(space or {}))


def _actions(agent: Agent, env: PatchSelectionVectorEnv) -> torch.Tensor:
    episodes = env.source.episodes(env.source.videos)
    return env.rollout(agent, episodes=episodes, deterministic=True).output.action


# ---- agents that do not learn ---------------------------------------------------------------------------------------


def test_random_patches_have_each_scale_equally_often(made_up: MadeUp) -> None:
    env = _env(made_up, videos=300)
    counts = GRID.scale(_actions(RandomAgent(env), env)).flatten().bincount(minlength=3)
    # Chi-square with 2 degrees of freedom exceeds 13.8 once in a thousand.
    assert ((counts - 400.0) ** 2 / 400).sum() < 13.8


@pytest.mark.parametrize("kind", [CenterAgent, GaussianAgent, MotionAgent, HeuristicAgent])
def test_agents_that_choose_a_place_take_the_scale_nearest_to_one(made_up: MadeUp, kind: type[Agent]) -> None:
    env, plain = _env(made_up), PatchSelectionVectorEnv(made_up(), GRUClassifier(input_dim=11, num_classes=3, hidden=8))
    env.source.motion = plain.source.motion  # type: ignore[attr-defined]
    place = _actions(kind(plain), plain)
    assert torch.equal(_actions(kind(env), env), place + 9)
    assert kind is CenterAgent or len(place.unique()) > 2


def test_the_oracle_takes_the_smallest_patch_that_holds_the_box(made_up: MadeUp) -> None:
    env = _env(made_up, videos=3)
    env.source.has_boxes = True
    env.source.true_boxes[0, 0] = torch.tensor([5.0, 5, 2, 1])  # type: ignore[attr-defined]
    env.source.true_boxes[0, 2] = torch.tensor([8.0, 0, 3, 4])  # type: ignore[attr-defined]
    env.source.true_boxes[1, 3] = torch.tensor([0.0, 0, 11, 11])  # type: ignore[attr-defined]
    boxes = GRID.action_box(_actions(OracleAgent(env), env)).tolist()
    assert boxes[0] == [[5, 5, 2, 2]] * 2 + [[8, 0, 4, 4]] * 2
    assert boxes[1] == [[4, 4, 8, 8]] * 4 or boxes[1] == [[2, 2, 8, 8]] * 4
    assert boxes[2] == [[4, 4, 4, 4]] * 4


def test_oracles_find_the_patch_of_the_right_size() -> None:
    env = FindThePatchVectorEnv(patch_scales=(0.5, 1.0, 2.0), num_frames=2, videos_per_patch=2)
    for kind in (OracleAgent, BestPatchAgent):
        assert torch.equal(_actions(kind(env), env), env.source.cells)  # type: ignore[attr-defined]


# ---- agents that learn ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "network", "options"),
    [
        (PPOAgent, "paper", {"gae_lambda": 0.9}),
        (PPOAgent, "conv", {"gae_lambda": 0.9}),
        (AllActionsAgent, "paper", {"ent_coef": 0.01}),
        (DistilAgent, "conv", {}),
    ],
)
def test_it_learns_to_choose_the_scale(kind: type[PolicyAgent], network: str, options: dict[str, Any]) -> None:
    """The channel of the lit cell tells the scale: who ignores it is right in half of the frames at most."""
    env = FindThePatchVectorEnv(grid=2, patch_scales=(1.0, 1.5), num_frames=2, num_envs=32, videos_per_patch=32)
    sizes = {"hidden": 32, "conv_hidden": 32, "reduced_channels": 8, "learning_rate": 0.01, "n_epochs": 4}
    agent = kind(env, kind.Options(**{**sizes, "network": network, **options}), seed=1).learn(env, epochs=8)
    reward = env.rollout(agent, episodes=env.source.episodes(env.source.videos), deterministic=True).reward
    assert reward.sum(1).mean() > 0.95 * env.best_return


@pytest.mark.parametrize("kind", [SoftPatchAgent, DistilAgent])
def test_it_learns_the_scale_when_labels_leak(made_up: MadeUp, kind: type[PolicyAgent]) -> None:
    """Only the patches of the largest scale show the label, and the same in every place."""
    env = _env(made_up, videos=48, frames=1, space={"reward": RewardConfig(kind="confidence")})
    source: Any = env.source
    shown = torch.nn.functional.one_hot(source.labels, 6).float()
    source.patches[..., :18, :] = 0
    source.patches[..., 18:, :] = 4 * shown[:, None, None]
    _teach(env)
    sizes = {"hidden": 16, "reduced_channels": 4, "learning_rate": 0.02, "n_epochs": 4}
    agent = kind(env, kind.Options(**sizes), seed=1).learn(env, epochs=4)
    assert (GRID.scale(_actions(agent, env)) == 2).float().mean() > 0.95


def _teach(env: PatchSelectionVectorEnv) -> None:
    """Train f_C on the patches that show the label."""
    episodes = env.source.episodes(env.source.videos)
    inputs = torch.cat((episodes.global_vector, episodes.local(torch.full((48, 1), 22))), dim=-1)
    optimizer = torch.optim.Adam(env.classifier.parameters(), lr=0.05)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(env.classifier(inputs)[:, 0], episodes.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


# ---- parts ----------------------------------------------------------------------------------------------------------


def test_the_convolutional_network_has_a_map_of_logits_for_each_scale() -> None:
    """Patches as large as cells take their cell's logit; in both networks the map of a scale is computed alike."""
    torch.manual_seed(0)
    grids = [PatchGrid(grid=3, frame_size=12, patch_size=4, scales=scales) for scales in ((1.0,), (1.0, 2.0))]
    one, both = (
        ConvActorCritic(
            observation_space=Box(-9, 9, (2, 3, 3)), action_space=Discrete(grid.num_actions), grid=grid,
            options=PPOOptions(network="conv", reduced_channels=3, conv_hidden=8),
        )
        for grid in grids
    )  # fmt: skip
    for weight in both.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    rows = {"saliency.weight": slice(0, 1), "what.weight": slice(0, 3), "what.bias": slice(0, 3)}
    rows |= {"where.weight": slice(0, 9), "prior": slice(0, 9)}
    one.load_state_dict({name: value[rows.get(name, slice(None))] for name, value in both.state_dict().items()})
    maps = torch.randn(2, 4, 2, 3, 3)
    found, expected = both.sequence(maps)[0], one.sequence(maps)[0]
    assert found.shape == (2, 4, 18)
    torch.testing.assert_close(found[..., :9], expected)
    # The centres of large patches are half a cell apart: outer ones lie between two cells of their own map.
    assert torch.equal(both.resample[9 + 4], torch.eye(9)[4])
    assert both.resample[9].view(3, 3).tolist() == [[0.25, 0.25, 0], [0.25, 0.25, 0], [0, 0, 0]]


def test_weights_of_crops_are_those_of_each_scale() -> None:
    apart = [patch_weights(one, (5, 6), points=2) for one in GRID.each]
    assert torch.equal(patch_weights(GRID, (5, 6), points=2), torch.cat(apart))
    assert not torch.equal(apart[0], apart[2])


def test_a_crop_of_the_map_has_as_many_points_as_the_patch_has_cells(made_up: MadeUp) -> None:
    env = _env(made_up)
    agent = MapCropAgent(env, MapCropAgent.Options(hidden=8, reduced_channels=2))
    assert agent.crops.shape == (27, 9)
    large = patch_weights(PatchGrid(grid=3, frame_size=12, patch_size=8), (3, 3), points=2)
    torch.testing.assert_close(agent.crops[18:], large)
    agent.learn(env, epochs=1)


def test_a_shift_moves_the_outcomes_of_each_scale_by_its_own_steps() -> None:
    def shift_of(grid: PatchGrid) -> MapShift:
        space = Box(0, 1, (2, 3, 3))
        return MapShift(observation_space=space, action_space=Discrete(grid.num_actions), grid=grid, most=1)

    table, cells = torch.rand(2, 4, 27), torch.tensor([[1, 0], [-1, 1]])
    moved = shift_of(GRID).outcomes(Counterfactuals(probability=table, reward=table), cells)
    for number, grid in enumerate(GRID.each):
        own = table[..., 9 * number : 9 * number + 9]
        expected = shift_of(grid).outcomes(Counterfactuals(probability=own, reward=own), cells)
        torch.testing.assert_close(moved.reward[..., 9 * number : 9 * number + 9], expected.reward)


def test_steps_say_the_size_of_the_input_of_f_l() -> None:
    boxes = GRID.action_box(torch.tensor([[0, 26]]))
    common: dict[str, Any] = {"logits": torch.zeros(1, 2, 3), "boxes": boxes, "cost": Cost(always=1, local=2)}
    steps = Steps.of_patches(GRID, kept=torch.tensor([[True, False]]), probabilities=torch.ones(1, 2, 27), **common)
    assert steps.sizes is not None
    assert steps.sizes.tolist() == [[4, 0]]
    assert (steps.patch_size, steps.patch_scales) == (4, SCALES)
    assert steps.macs.tolist() == [[3, 1]]
    plain = Steps.of_patches(GRID.each[1], **common)
    assert (plain.sizes, plain.patch_size) == (None, 0)
