from __future__ import annotations

from statistics import NormalDist
from typing import Any

import pytest
import torch

from adafocus_rl.agents import (
    Agent,
    CenterAgent,
    GaussianAgent,
    GaussianOptions,
    HeuristicAgent,
    MotionAgent,
    OracleAgent,
    PPOAgent,
    RandomAgent,
)
from adafocus_rl.agents.skipping import RandomSkipAgent
from adafocus_rl.envs import FrameSkippingVectorEnv, Info, PatchSelectionVectorEnv, problem
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import GRUClassifier
from adafocus_rl.seeding import derive_seed, hash_uniform

MadeUp = Any


def _env(made_up: MadeUp, *, num_envs: int = 3, **options: Any) -> PatchSelectionVectorEnv:
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    return PatchSelectionVectorEnv(made_up(**options), classifier, num_envs=num_envs)


def _info(env: PatchSelectionVectorEnv, videos: list[int], visits: list[int]) -> Info:
    return env.info(env.source.episodes(torch.tensor(videos)), torch.tensor(visits))


def test_random_actions_do_not_depend_on_the_batch(made_up: MadeUp) -> None:
    env = _env(made_up)
    agent = RandomAgent(env)
    together = agent.plan(_info(env, [5, 0, 5, 3], [0, 0, 1, 2]), 4)
    for row, (video, visit) in enumerate([(5, 0), (0, 0), (5, 1), (3, 2)]):
        assert torch.equal(agent.plan(_info(env, [video], [visit]), 4)[0], together[row])
    assert not torch.equal(together[0], together[2])
    assert not torch.equal(RandomAgent(env, seed=1).plan(_info(env, [5], [0]), 4)[0], together[0])


def test_random_actions_are_uniform(made_up: MadeUp) -> None:
    env = _env(made_up)
    info = _info(env, [0, 1, 2, 3] * 250, list(range(1000)))
    counts = RandomAgent(env).plan(info, 9).flatten().bincount(minlength=9)
    assert len(counts) == 9
    # Chi-square with 8 degrees of freedom exceeds 26.1 once in a thousand.
    assert ((counts - 1000.0) ** 2 / 1000).sum() < 26.1


@pytest.mark.parametrize(("grid", "center"), [(1, {0}), (3, {4}), (7, {24}), (6, {14, 15, 20, 21})])
def test_center(made_up: MadeUp, grid: int, center: set[int]) -> None:
    env = _env(made_up, grid=grid)
    actions = CenterAgent(env).plan(_info(env, [0, 1], [0, 0]), 4)
    assert actions.shape == (2, 4)
    assert len(set(actions.flatten().tolist())) == 1
    assert int(actions[0, 0]) in center


def test_gaussian_positions_are_normal_quantiles_of_the_counters(made_up: MadeUp) -> None:
    env = _env(made_up, grid=7)
    actions = GaussianAgent(env, GaussianOptions(std=0.3), seed=2).plan(_info(env, [4, 1], [0, 3]), 4)
    seed = derive_seed(2, "gaussian agent")
    for row, (video, visit) in enumerate([(4, 0), (1, 3)]):
        for frame in range(4):
            places = []
            for axis in range(2):
                uniform = float(hash_uniform(seed, *torch.tensor([video, visit, frame, axis])))
                position = min(max(NormalDist(0.5, 0.3).inv_cdf(uniform), 0), 1)
                places.append(round(position * 6))
            assert int(actions[row, frame]) == places[0] * 7 + places[1]
    with pytest.raises(UserError, match="std is 0"):
        GaussianAgent(env, GaussianOptions(std=0.0))


def _boxed(made_up: MadeUp) -> PatchSelectionVectorEnv:
    """Frames of 12, patches of 4, so grid origins 0, 4, 8 and patch centres 2, 6, 10."""
    env = _env(made_up)
    source: Any = env.source
    source.has_boxes = True
    source.true_boxes[0] = torch.tensor([[0.0, 0, 2, 2], [5, 9, 2, 4], [4, 4, 4, 4], [10, 0, 2, 3]])
    source.true_boxes[1, 1] = torch.tensor([8.0, 8, 4, 4])
    source.true_boxes[1, 3] = torch.tensor([0.0, 8, 4, 4])
    return env


def test_oracle_takes_the_patch_nearest_to_the_box(made_up: MadeUp) -> None:
    env = _boxed(made_up)
    actions = OracleAgent(env).plan(_info(env, [0, 1, 2], [0, 0, 0]), 4)
    assert actions[0].tolist() == [0, 5, 4, 6]
    # Absent: as in the nearest frame with the object, the earlier one of two.
    assert actions[1].tolist() == [8, 8, 8, 2]
    # Never there: the centre.
    assert actions[2].tolist() == [4, 4, 4, 4]


def test_oracle_does_not_depend_on_the_batch(made_up: MadeUp) -> None:
    env = _boxed(made_up)
    assert OracleAgent(env).plan(_info(env, [2], [0]), 4)[0].tolist() == [4, 4, 4, 4]


def test_oracle_needs_boxes(made_up: MadeUp) -> None:
    env = _env(made_up)
    with pytest.raises(UserError, match="needs true boxes"):
        env.rollout(OracleAgent(env))


@pytest.mark.parametrize("kind", [RandomAgent, CenterAgent, GaussianAgent, OracleAgent])
def test_step_by_step_equals_whole_episodes(made_up: MadeUp, kind: type[Agent]) -> None:
    env = _boxed(made_up)
    agent = kind(env)
    with pytest.raises(RuntimeError, match=r"call begin\(info\)"):
        agent.predict(torch.zeros(3, 2, 3, 3))
    # Bound to one environment, evaluated in another with longer clips.
    other = _env(made_up, frames=6)
    _, info = other.reset()
    state, start = None, torch.ones(3, dtype=torch.bool)
    for _ in range(2):
        agent.begin(info)
        expected = agent.act(other.source.episodes(info["video"]).global_map, info).action
        for step in range(6):
            action, state = agent.predict(torch.zeros(3, 2, 3, 3), state, start)
            assert torch.equal(action, expected[:, step])
            _, _, start, _, info = other.step(action)


@pytest.mark.parametrize("kind", [RandomAgent, CenterAgent, GaussianAgent, OracleAgent])
def test_positions_anywhere(made_up: MadeUp, kind: type[Agent]) -> None:
    """As on the grid, without rounding to it, in both ways of acting."""
    grid = _boxed(made_up)
    env = PatchSelectionVectorEnv(grid.source, grid.classifier, num_envs=7, action_space="continuous", last_action=True)
    agent, on_grid = kind(env), kind(grid)
    info = _info(env, list(range(7)), [0] * 7)
    plan = agent.plan(info, 4)
    assert plan.shape == (7, 4, 2)
    assert all(env.single_action_space.contains(position) for position in plan.flatten(0, 1).numpy())
    if kind is not RandomAgent:
        assert torch.equal(env.source.grid.action(plan), on_grid.plan(info, 4))
    # Frame by frame, since what is observed depends on what was chosen.
    rollout = env.rollout(agent, episodes=env.source.episodes(torch.arange(7)))
    assert torch.equal(rollout.output.action, plan)


def test_random_positions_are_uniform(made_up: MadeUp) -> None:
    env = PatchSelectionVectorEnv(
        made_up(), GRUClassifier(input_dim=11, num_classes=3, hidden=8), num_envs=3, action_space="continuous"
    )
    plan = RandomAgent(env).plan(_info(env, [0, 1, 2, 3] * 250, list(range(1000))), 9).flatten(0, 1)
    cells = (plan * 3).long()
    counts = (cells[:, 0] * 3 + cells[:, 1]).bincount(minlength=9)
    # Chi-square with 8 degrees of freedom exceeds 26.1 once in a thousand.
    assert ((counts - 1000.0) ** 2 / 1000).sum() < 26.1


@pytest.mark.parametrize("action_space", ["grid", "continuous"])
def test_the_motion_agent_takes_the_patch_that_moved_most(made_up: MadeUp, action_space: Any) -> None:
    """Patches and grid are 3×3 here, and so are these pictures."""
    source = made_up()
    cells = torch.randint(9, (7, 4), generator=torch.Generator().manual_seed(0))
    source.motion = torch.nn.functional.one_hot(cells, 9).float().view(7, 4, 3, 3)
    source.motion[:, 0] = 0
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    env = PatchSelectionVectorEnv(source, classifier, num_envs=3, action_space=action_space)
    rollout = env.rollout(MotionAgent(env), episodes=source.episodes(torch.arange(7)))
    found = rollout.output.action if action_space == "grid" else source.grid.action(rollout.output.action)
    assert found[:, 0].tolist() == [4] * 7  # nothing is known yet: the centre
    assert torch.equal(found[:, 1:], cells[:, 1:])
    with pytest.raises(UserError, match="these features have no pictures"):
        MotionAgent(env).plan({"video": torch.arange(2)}, 4)


def test_motion_is_computed_only_for_agents_that_read_it(made_up: MadeUp, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    means = problem.patch_means
    monkeypatch.setattr(problem, "patch_means", lambda *given: computed.append(1) or means(*given))
    env = _env(made_up)
    for kind in (RandomAgent, CenterAgent, GaussianAgent, HeuristicAgent, PPOAgent):
        env.rollout(kind(env), deterministic=True, with_reward=False)
        skipping = FrameSkippingVectorEnv(env, kind(env), lambda_=0.1)
        skipping.rollout(RandomSkipAgent(skipping), with_reward=False)
    assert not computed
    env.rollout(MotionAgent(env), with_reward=False)
    assert len(computed) == 1
    skipping = FrameSkippingVectorEnv(env, MotionAgent(env), lambda_=0.1)
    skipping.rollout(RandomSkipAgent(skipping), with_reward=False)
    assert len(computed) == 2
