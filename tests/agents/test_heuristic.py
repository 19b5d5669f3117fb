from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adafocus_rl.agents import BestPatchAgent, HeuristicAgent, HeuristicOptions, RandomAgent
from adafocus_rl.agents.heuristic import center_of_mass
from adafocus_rl.envs import Info, PatchSelectionVectorEnv, PolicyOutput
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


# ---- the best patch -------------------------------------------------------------------------------------------------


class Given:
    """Does as it is told."""

    def __init__(self, action: Tensor) -> None:
        self.action = action

    def act(self, observation: Any, info: Info, *, deterministic: bool) -> PolicyOutput:
        return PolicyOutput(action=self.action)


def _tried_out(env: PatchSelectionVectorEnv) -> Tensor:
    """Greedy actions of all seven videos, found by playing every choice of every frame."""
    episodes = env.source.episodes(torch.arange(7))
    found = torch.zeros(7, 4, dtype=torch.long)
    for frame in range(4):
        tries = []
        for action in range(9):
            found[:, frame] = action
            rollout = env.rollout(Given(found), episodes=episodes, with_reward=False)
            tries.append(rollout.logits[:, frame].softmax(-1)[torch.arange(7), episodes.labels])
        found[:, frame] = torch.stack(tries).argmax(0)
    return found


def test_best_patch_is_what_trying_everything_out_finds(made_up: MadeUp) -> None:
    env = _env(made_up)
    expected = _tried_out(env)
    episodes = env.source.episodes(torch.arange(7))
    assert torch.equal(env.rollout(BestPatchAgent(env), episodes=episodes).output.action, expected)
    assert len(expected.unique()) > 2
    # No other agent's first patch leads to more.
    best, other = (env.rollout(agent, episodes=episodes) for agent in (BestPatchAgent(env), RandomAgent(env)))
    after = [roll.logits[:, 0].softmax(-1)[torch.arange(7), episodes.labels] for roll in (best, other)]
    assert (after[0] >= after[1]).all()
    assert (after[0] > after[1]).any()


def test_best_patch_step_by_step_equals_whole_episodes(made_up: MadeUp) -> None:
    env = _env(made_up)
    agent, expected = BestPatchAgent(env), _tried_out(env)
    observation, info = env.reset()
    agent.begin(info)
    videos, state = info["video"], None
    for step in range(4):
        action, state = agent.predict(observation, state)
        assert torch.equal(action, expected[videos, step])
        observation, *_ = env.step(action)


def test_best_patch_reads_the_environment_it_is_measured_in(made_up: MadeUp) -> None:
    here, there = _env(made_up), _env(made_up, seed=1)
    agent = BestPatchAgent(here)
    assert agent.bind(here) is agent
    episodes = there.source.episodes(torch.arange(7))
    assert torch.equal(there.rollout(agent.bind(there), episodes=episodes).output.action, _tried_out(there))
    assert not torch.equal(_tried_out(there), _tried_out(here))
    # Others are the same everywhere.
    random = RandomAgent(here)
    assert random.bind(there) is random


def test_best_patch_can_be_asked_frame_by_frame(made_up: MadeUp) -> None:
    env = _env(made_up, last_action=True)
    episodes = env.source.episodes(torch.arange(7))
    expected = _tried_out(_env(made_up))
    assert torch.equal(env.rollout(BestPatchAgent(env), episodes=episodes).output.action, expected)
