"""Shifts of map and outcomes together, as augmentation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gymnasium.spaces import Box, Discrete

from adafocus_rl.agents import AllActionsAgent, DistilAgent, PolicyAgent, PPOAgent
from adafocus_rl.agents.distil import DistilOptions
from adafocus_rl.agents.policies.shifts import MapShift
from adafocus_rl.envs import Counterfactuals, FindThePatchVectorEnv, FrameSkippingVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.geometry import PatchGrid

MadeUp = Any
CLASSES = [AllActionsAgent, DistilAgent]


def shift_of(grid: PatchGrid, cells: int, most: int) -> MapShift:
    return MapShift(
        observation_space=Box(0, 1, (2, cells, cells)),
        action_space=Discrete(grid.num_actions),
        grid=grid,
        most=most,
    )


def moved(x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """By hand: entry (r, c) comes from (r − rows, c − columns), or from the nearest one that there is."""
    height, width = x.shape[-2:]
    from_rows = (torch.arange(height) - rows).clamp(0, height - 1)
    from_columns = (torch.arange(width) - columns).clamp(0, width - 1)
    return x[..., from_rows[:, None], from_columns]


def test_map_and_outcomes_move_together() -> None:
    """Cells of 4 pixels and steps of 4: whole steps, so both move by the same number of entries."""
    shift = shift_of(PatchGrid(grid=3, frame_size=12, patch_size=4), cells=3, most=2)
    maps, table = torch.randn(3, 4, 2, 3, 3), torch.rand(3, 4, 9)
    cells = torch.tensor([[0, 0], [1, -2], [-1, 1]])
    seen = shift.observation({"features": maps, "time_step": maps[:, :, 0, 0, :1]}, cells)
    outcomes = shift.outcomes(Counterfactuals(probability=table, reward=table - 0.5), cells)
    assert torch.equal(seen["time_step"], maps[:, :, 0, 0, :1])
    for row, (down, right) in enumerate(cells.tolist()):
        torch.testing.assert_close(seen["features"][row], moved(maps[row], down, right))
        expected = moved(table[row].view(4, 3, 3), down, right).flatten(1)
        torch.testing.assert_close(outcomes.probability[row], expected)
        torch.testing.assert_close(outcomes.reward[row], expected - 0.5)


def test_outcomes_between_positions_are_interpolated() -> None:
    """At the paper's sizes, a cell of 32 pixels is one and a half steps of 21.3."""
    shift = shift_of(PatchGrid(grid=7, frame_size=224, patch_size=96), cells=7, most=2)
    table = torch.rand(1, 1, 49)
    outcomes = Counterfactuals(probability=table, reward=table)
    one = shift.outcomes(outcomes, torch.tensor([[1, 0]])).reward.view(7, 7)
    before = table.view(7, 7)
    torch.testing.assert_close(one[2:], (before[:5] + before[1:6]) / 2)
    torch.testing.assert_close(one[1], (before[0] + before[0]) / 2)
    two = shift.outcomes(outcomes, torch.tensor([[2, 0]])).reward.view(7, 7)
    torch.testing.assert_close(two, moved(before, 3, 0))


def test_all_shifts_are_equally_likely() -> None:
    shift = shift_of(PatchGrid(grid=3, frame_size=12, patch_size=4), cells=3, most=2)
    uniform = (torch.arange(1000, dtype=torch.float64) / 1000)[:, None].expand(-1, 2)
    assert torch.equal(shift.draw(uniform)[:, 0].unique(return_counts=True)[1], torch.full((5,), 200))


@pytest.mark.parametrize("kind", CLASSES)
def test_it_finds_the_patch_where_no_video_showed_it(kind: type[PolicyAgent]) -> None:
    """The cell was lit in the centre of every video; only shifted maps show it elsewhere."""
    env = FindThePatchVectorEnv(num_frames=2, num_envs=32, videos_per_patch=16)
    every = env.source.cells.clone()
    env.source.cells[:] = 4
    # Without memory: a video is shifted as a whole, so none shows two cells.
    options: dict[str, Any] = {"ent_coef": 0.01} if kind is AllActionsAgent else {}
    options |= {"cell": "none", "hidden": 32, "reduced_channels": 8, "learning_rate": 0.01, "n_epochs": 4}
    found = []
    for most in (0, 1):
        agent = kind(env, kind.Options(shift=most, **options))
        agent.learn(env, epochs=8)
        other = FindThePatchVectorEnv(num_frames=2, num_envs=32, videos_per_patch=16)
        assert torch.equal(other.source.cells, every)
        rollout = other.rollout(agent, episodes=other.source.episodes(other.source.videos), deterministic=True)
        found.append(float(rollout.reward.sum(1).mean()) / other.best_return)
    assert found[0] == pytest.approx(1 / 9)
    assert found[1] == 1


@pytest.mark.parametrize("kind", CLASSES)
def test_resumed_exactly(kind: type[PolicyAgent]) -> None:
    env = FindThePatchVectorEnv(num_envs=16, videos_per_patch=4)

    def make() -> PolicyAgent:
        return kind(env, kind.Options(hidden=8, reduced_channels=2, shift=1), seed=1)

    whole, half, resumed = make().learn(env, epochs=3), make().learn(env, epochs=2), make()
    resumed.load_training_state(*half.training_state(), what="half")
    resumed.learn(env, epochs=3, start_epoch=2)
    for name, value in whole.tensors().items():
        assert torch.equal(value, resumed.tensors()[name]), name


def test_what_cannot_be_shifted_is_refused(made_up: MadeUp) -> None:
    options = DistilOptions(hidden=8, reduced_channels=2, shift=1)
    for space in ({"last_action": True}, {"observation": "vector"}):
        with pytest.raises(UserError, match=r"agent\.shift moves the map, so it needs env\.observation=map without"):
            DistilAgent(FindThePatchVectorEnv(**space), options)
    patches = FindThePatchVectorEnv()
    env = FrameSkippingVectorEnv(patches, PPOAgent(patches), lambda_=0.01, num_envs=3)
    with pytest.raises(UserError, match=r"agent\.shift moves the grid's positions, but the action space is Discrete"):
        DistilAgent(env, options)
    with pytest.raises(UserError, match="shift is -1; give 0"):
        DistilOptions(shift=-1)
    assert not hasattr(PPOAgent.Options(), "shift")
