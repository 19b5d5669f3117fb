from __future__ import annotations

from typing import Any

import pytest
import torch

from adafocus_rl.agents import HeuristicAgent, HeuristicOptions
from adafocus_rl.agents.heuristic import center_of_mass
from adafocus_rl.envs import PatchSelectionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any


def _env(made_up: MadeUp, *, seed: int = 0, num_envs: int = 3, **options: Any) -> PatchSelectionVectorEnv:
    torch.manual_seed(seed)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    return PatchSelectionVectorEnv(made_up(), classifier, num_envs=num_envs, **options)


# ---- the centre of the activation -----------------------------------------------------------------------------------


def test_the_centre_of_one_bright_cell_is_its_middle() -> None:
    maps = torch.full((2, 4, 3, 5), 0.3)
    maps[0, :, 2, 1] = 1.0
    maps[1, :, 0, 4] = -1.0
    expected = torch.tensor([[2.5 / 3, 1.5 / 5], [0.5 / 3, 4.5 / 5]])
    torch.testing.assert_close(center_of_mass(maps, 1.0), expected)
    torch.testing.assert_close(center_of_mass(1e15 * maps, 8.0), expected)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.0])
def test_cells_weigh_a_power_of_their_energy_above_the_darkest(sharpness: float) -> None:
    """Columns with mean squares 1, 2 and 5 over two channels: above the darkest 0, 1 and 4."""
    maps = torch.tensor([[1.0, 2**0.5, 3.0], [1.0, -(2**0.5), 1.0]])[:, None]
    column = (1 * 1.5 + 4**sharpness * 2.5) / 3 / (1 + 4**sharpness)
    torch.testing.assert_close(center_of_mass(maps, sharpness), torch.tensor([0.5, column]))


def test_the_centre_of_nothing_is_the_middle() -> None:
    assert center_of_mass(torch.full((1, 2, 3, 3), 0.7), 2.0).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("time_step", [False, True])
def test_heuristic_takes_the_patch_on_the_bright_cell(made_up: MadeUp, time_step: bool) -> None:
    """Maps, patches and grid are all 3×3 here."""
    env = _env(made_up, time_step=time_step)
    source: Any = env.source
    cells = torch.randint(9, (7, 4), generator=torch.Generator().manual_seed(0))
    source.maps = torch.nn.functional.one_hot(cells, 9).float().view(7, 4, 1, 3, 3).expand(-1, -1, 2, -1, -1)
    agent = HeuristicAgent(env)
    rollout = env.rollout(agent, episodes=source.episodes(torch.arange(7)))
    assert torch.equal(rollout.output.action, cells)
    observation, info = env.reset()
    action, state = agent.predict(observation)
    assert state is None
    assert torch.equal(action, cells[info["video"], 0])


def test_heuristic_needs_maps_and_a_sharpness(made_up: MadeUp) -> None:
    with pytest.raises(UserError, match=r"env\.observation is 'vector'; give 'map'"):
        HeuristicAgent(_env(made_up, observation="vector"))
    with pytest.raises(UserError, match="sharpness is 0"):
        HeuristicAgent(_env(made_up), HeuristicOptions(sharpness=0))
    agent = HeuristicAgent(_env(made_up), HeuristicOptions(sharpness=4), seed=1)
    assert (agent.options.sharpness, agent.seed) == (4, 1)
