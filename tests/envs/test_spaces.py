"""Observations and actions of every kind: spaces, clipping, and the same numbers whichever way they are taken."""

from __future__ import annotations

from itertools import product
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from adafocus_rl.envs import PatchSelectionVectorEnv, PolicyOutput, RewardConfig, SpaceConfig
from adafocus_rl.envs.rewards import baseline_actions
from adafocus_rl.envs.spaces import Spaces
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import GRUClassifier
from adafocus_rl.seeding import derive_seed, hash_uniform

MadeUp = Any
FRAMES = 4
KINDS = [
    {"action_space": action, "observation": seen, "last_action": last, "time_step": time}
    for action, seen, last, time in product(("grid", "continuous"), ("map", "vector"), (False, True), (False, True))
]
KINDS += [{"motion": True}, {"motion": True, "last_action": True}]


def _env(made_up: MadeUp, source: Any = None, **options: Any) -> PatchSelectionVectorEnv:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    options = {"num_envs": 3, "reward": RewardConfig(baseline_positions=2), "seed": 4, **options}
    return PatchSelectionVectorEnv(made_up() if source is None else source, classifier, **options)


def _numpy(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {name: part.numpy() for name, part in observation.items()}
    return observation.numpy()


class Curious:
    """Chooses by all that it sees, now and before; counts how it is asked."""

    def __init__(self, env: PatchSelectionVectorEnv) -> None:
        self.continuous = isinstance(env.single_action_space, gym.spaces.Box)
        self.calls = {"act": 0, "act_step": 0}

    def _choose(self, mood: Tensor) -> Tensor:
        if self.continuous:
            return torch.stack((mood.sin(), (3 * mood).cos()), dim=-1) * 0.7 + 0.5  # beyond [0, 1] at times
        return (mood.abs() * 100).long() % 9

    def _mood(self, observation: Any, batch_axes: int) -> Tensor:
        parts = list(observation.values()) if isinstance(observation, dict) else [observation]
        weights = [0.1, 1.0, 3.0]
        return sum(weight * part.flatten(batch_axes).sum(-1) for weight, part in zip(weights, parts, strict=False))

    def act(self, observation: Any, info: Any, *, deterministic: bool) -> PolicyOutput:
        self.calls["act"] += 1
        return PolicyOutput(action=self._choose(self._mood(observation, 2).cumsum(1)))

    def act_step(self, observation: Any, state: Any, info: Any, *, deterministic: bool) -> tuple[PolicyOutput, Any]:
        self.calls["act_step"] += 1
        state = self._mood(observation, 1) + (0 if state is None else state)
        return PolicyOutput(action=self._choose(state), value=state, log_prob=-state), state


@pytest.mark.parametrize("kind", KINDS)
def test_the_spaces_contain_what_comes_out(made_up: MadeUp, kind: dict[str, Any]) -> None:
    env = _env(made_up, **kind)
    observation, _ = env.reset()
    for _ in range(5):
        assert _numpy(observation) in env.observation_space
        one = _numpy(observation)
        one = {name: part[0] for name, part in one.items()} if isinstance(one, dict) else one[0]
        assert one in env.single_observation_space
        observation, *_, info = env.step(torch.from_numpy(env.action_space.sample()))
        if "final_obs" in info:
            assert _numpy(info["final_obs"]) in env.observation_space


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("positions", [0, 2])
def test_rollout_equals_step_by_step(made_up: MadeUp, kind: dict[str, Any], positions: int) -> None:
    stepped, rolled = (_env(made_up, reward=RewardConfig(baseline_positions=positions), **kind) for _ in range(2))
    policy = Curious(stepped)
    observation, _ = stepped.reset()
    for _ in range(3):
        rollout, state = rolled.rollout(Curious(rolled)), None
        for step in range(FRAMES):
            output, state = policy.act_step(observation, state, {}, deterministic=True)
            seen = rollout.observation
            if isinstance(seen, dict):
                assert seen.keys() == observation.keys()
                assert all(torch.equal(seen[name][:, step], observation[name]) for name in seen)
            else:
                assert torch.equal(seen[:, step], observation)
            torch.testing.assert_close(rollout.output.action[:, step], output.action)
            observation, reward, _, _, info = stepped.step(output.action)
            torch.testing.assert_close(rollout.reward[:, step], reward)
            logits = (info["final_info"] if step == FRAMES - 1 else info)["logits"]
            torch.testing.assert_close(rollout.logits[:, step], logits)
        assert len(rollout.output.action.unique(dim=0)) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_is_asked_frame_by_frame_only_where_it_must(
    made_up: MadeUp, kind: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    env = _env(made_up, **kind)
    policy, calls = Curious(env), []
    sequence, cells = env.classifier.sequence, env.classifier.projected_cells
    monkeypatch.setattr(env.classifier, "sequence", lambda *inputs: calls.append("sequence") or sequence(*inputs))
    monkeypatch.setattr(env.classifier, "projected_cells", lambda *inputs: calls.append("cells") or cells(*inputs))
    output = env.rollout(policy).output
    assert calls == ["sequence", "cells"]
    assert policy.calls == ({"act": 0, "act_step": 4} if kind.get("last_action") else {"act": 1, "act_step": 0})
    if kind.get("last_action"):
        assert output.log_prob is not None
        assert output.value is not None
        assert torch.equal(output.log_prob, -output.value)
        assert output.value.shape == (3, FRAMES)


def test_a_policy_of_whole_episodes_cannot_see_its_own_actions(made_up: MadeUp) -> None:
    class Whole:
        def act(self, observation: Any, info: Any, *, deterministic: bool) -> PolicyOutput:
            raise AssertionError

    with pytest.raises(UserError, match=r"Whole takes the observations of whole episodes.* method act_step"):
        _env(made_up, last_action=True).rollout(Whole())


@pytest.mark.parametrize("side", [5, 6, 7, 8])
def test_grids(made_up: MadeUp, side: int) -> None:
    env = _env(made_up, made_up(grid=side), last_action=True)
    assert env.single_action_space == gym.spaces.Discrete(side * side)
    observation, _ = env.reset()
    assert observation["last_action"].tolist() == [[-1, -1]] * 3
    observation, *_ = env.step(torch.tensor([0, side * side - 1, side + 2]))
    expected = torch.tensor([[0, 0], [1, 1], [1 / (side - 1), 2 / (side - 1)]])
    torch.testing.assert_close(observation["last_action"], expected)


def test_a_vector_is_the_pooled_map_s_table(made_up: MadeUp) -> None:
    env = _env(made_up, observation="vector", time_step=True, shuffle=False)
    assert env.single_observation_space["features"] == gym.spaces.Box(-np.inf, np.inf, (5,), np.float32)
    env.reset()
    observation, *_ = env.step(torch.tensor([1, 2, 3]))
    assert observation.keys() == {"features", "time_step"}
    assert torch.equal(observation["features"], env.source.vectors[:3, 1])  # type: ignore[attr-defined]
    assert observation["time_step"].tolist() == [[0.25]] * 3


def test_the_last_observation_says_that_the_episode_is_over(made_up: MadeUp) -> None:
    env = _env(made_up, time_step=True, last_action=True)
    env.reset()
    for _ in range(FRAMES):
        observation, *_, info = env.step(torch.tensor([0, 4, 8]))
    assert info["final_obs"]["time_step"].tolist() == [[1.0]] * 3
    assert info["final_obs"]["last_action"].tolist() == [[0, 0], [0.5, 0.5], [1, 1]]
    assert observation["time_step"].tolist() == [[0.0]] * 3
    assert observation["last_action"].tolist() == [[-1, -1]] * 3


def test_continuous_actions_are_clipped(made_up: MadeUp) -> None:
    env = _env(made_up, action_space="continuous", last_action=True, num_envs=2)
    assert env.single_action_space == gym.spaces.Box(0, 1, (2,), np.float32)
    env.reset(options={"videos": [5, 5]})
    observation, reward, *_ = env.step(torch.tensor([[-3.0, 1.7], [0.0, 1.0]]))
    assert reward[0] == reward[1]
    assert observation["last_action"].tolist() == [[0, 1], [0, 1]]
    with pytest.raises(UserError, match=r"shape \(2,\); this environment takes \(2, 2\)"):
        env.step(torch.zeros(2))


def test_a_continuous_action_s_patch_is_rewarded(made_up: MadeUp) -> None:
    """In the corners the made-up source's continuous features are those of the grid's corner patches."""
    grid, free = (_env(made_up, action_space=kind, reward=RewardConfig(kind="confidence")) for kind in KINDS_OF_ACTION)
    for env in (grid, free):
        env.reset()
    for action, position in ((0, (0.0, 0.0)), (2, (0.0, 1.0)), (6, (1.0, 0.0)), (8, (1.0, 1.0))):
        paid = grid.step(torch.full((3,), action))[1]
        torch.testing.assert_close(free.step(torch.tensor([position] * 3))[1], paid)


KINDS_OF_ACTION = ("grid", "continuous")


def test_a_source_of_grid_patches_has_no_others(made_up: MadeUp) -> None:
    source = made_up()
    source.any_position = False
    with pytest.raises(UserError, match="'continuous', but these features hold the patches of the grid only"):
        _env(made_up, source, action_space="continuous")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action_space": "gird"}, "env.action_space is 'gird'; give 'grid' or 'continuous'"),
        ({"observation": "pixels"}, "env.observation is 'pixels'; give 'map' or 'vector'"),
    ],
)
def test_unknown_kinds(made_up: MadeUp, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _env(made_up, **options)


def test_continuous_baselines_are_uniform_over_pixels(made_up: MadeUp) -> None:
    """Last offset included, which floor(uniform · (S − P)) would never reach."""
    source = made_up()
    spaces = Spaces(SpaceConfig(action_space="continuous"), source)
    videos, visits = torch.arange(2000) % 7, torch.arange(2000) // 7
    found = baseline_actions(spaces, 3, seed=4, videos=videos, visits=visits, num_steps=FRAMES)
    assert (found.shape, found.dtype) == ((2000, FRAMES, 3, 2), torch.float32)
    assert found.min() >= 0
    assert found.max() <= 1
    offsets = source.grid.last_offset + 1
    counters = [torch.tensor(value) for value in (6, 12, 2, 1)]
    uniform = [hash_uniform(derive_seed(4, "baseline"), *counters, torch.tensor(axis)).item() for axis in (0, 1)]
    row = 12 * 7 + 6
    assert source.grid.origin(found[row, 2, 1]).tolist() == [int(one * offsets) for one in uniform]
    counts = source.grid.origin(found).flatten().bincount(minlength=offsets)
    expected = found.numel() / offsets
    assert len(counts) == offsets
    # χ² of uniform counts: mean 8, far below 40.
    assert ((counts - expected) ** 2 / expected).sum() < 40


@pytest.mark.parametrize("kind", KINDS_OF_ACTION)
def test_each_seed_s_baseline_is_its_own(made_up: MadeUp, kind: Any) -> None:
    spaces = Spaces(SpaceConfig(action_space=kind), made_up())
    facts: Any = {"videos": torch.tensor([3, 3]), "visits": torch.tensor([1, 1]), "num_steps": FRAMES}
    together = baseline_actions(spaces, 2, seed=[8, 9], **facts)
    for row, seed in enumerate((8, 9)):
        assert torch.equal(together[row], baseline_actions(spaces, 2, seed=seed, **facts)[row])
    assert not torch.equal(together[0], together[1])


def test_the_same_problem_on_other_features(made_up: MadeUp) -> None:
    kind: Any = {"action_space": "continuous", "observation": "vector", "last_action": True, "time_step": True}
    env = _env(made_up, reward=RewardConfig(kind="padding"), **kind)
    other = made_up(seed=1)
    like = env.like(other, num_envs=5)
    assert like.source is other
    assert like.classifier is env.classifier
    assert like.space_config == env.space_config == SpaceConfig(**kind)
    assert (like.num_envs, like.reward_config, like.seed) == (5, env.reward_config, 4)


def test_motion_is_the_last_channel_of_the_map(made_up: MadeUp) -> None:
    env = _env(made_up, motion=True)
    assert env.single_observation_space.shape == (3, 3, 3)
    rollout = env.rollout(Curious(env))
    videos = rollout.episodes.videos
    assert torch.equal(rollout.observation[:, :, :2], env.source.maps[videos])
    # 6×6 pictures on 3×3 cells.
    pooled = env.source.motion[videos].unflatten(-1, (3, 2)).unflatten(-3, (3, 2)).mean((-1, -3))
    torch.testing.assert_close(rollout.observation[:, :, 2], pooled)
    torch.testing.assert_close(rollout.info["motion"].amax((1, 2)) > 0, torch.ones(3, dtype=torch.bool))


def test_motion_needs_maps_and_pictures(made_up: MadeUp) -> None:
    with pytest.raises(UserError, match=r"env.motion adds a channel to maps, but env.observation is 'vector'"):
        _env(made_up, motion=True, observation="vector")
    env = _env(made_up, motion=True)
    episodes = env.source.episodes(torch.arange(3))
    episodes.motion = None
    with pytest.raises(UserError, match="MadeUpEpisodes has none"):
        env.rollout(Curious(env), episodes=episodes)
