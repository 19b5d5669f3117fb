"""Every environment has episodes of its own: partial resets, seeds, statistics, and nothing depends on neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from adafocus_rl.envs import PatchSelectionVectorEnv, PolicyOutput, RewardConfig
from adafocus_rl.envs.order import VideoOrder, VideoOrders
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any
FRAMES, ACTIONS = 4, 9
MODES = list(AutoresetMode)


def _env(made_up: MadeUp, *, videos: int = 3, device: str = "cpu", **options: Any) -> PatchSelectionVectorEnv:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    options = {"num_envs": 3, "reward": RewardConfig(baseline_positions=2), **options}
    return PatchSelectionVectorEnv(made_up(videos=videos, device=device), classifier, **options)


def _of(row: int, value: Any) -> Any:
    """One environment's part of an observation or of an info, as Gymnasium's ``DictInfoToList`` takes it."""
    if not isinstance(value, Mapping):
        return value[row]
    names = [name for name in value if not name.startswith("_") and value.get(f"_{name}", torch.ones(9))[row]]
    return {name: _of(row, value[name]) for name in names}


def _assert_same(left: Any, right: Any) -> None:
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        left, right = ([part[name] for name in left if name != "t"] for part in (left, right))  # t: seconds
    if isinstance(left, (list, tuple)):
        for one, other in zip(left, right, strict=True):
            _assert_same(one, other)
    else:
        assert left.dtype == right.dtype
        assert torch.allclose(left, right, rtol=1e-5, atol=1e-6, equal_nan=True)


@settings(max_examples=25)
@given(
    mode=st.sampled_from(MODES),
    seeds=st.lists(st.integers(0, 5), min_size=3, max_size=3),
    masks=st.lists(st.none() | st.lists(st.booleans(), min_size=3, max_size=3).filter(any), max_size=14),
    shuffle=st.booleans(),
    options=st.sampled_from([{}, {"last_action": True, "time_step": True}, {"action_space": "continuous"}]),
)
def test_an_environment_never_notices_its_neighbours(
    made_up: MadeUp, mode: AutoresetMode, seeds: list[int], masks: list[Any], shuffle: bool, options: dict[str, Any]
) -> None:
    """Steps (None) and partial resets (masks) of three give each what it gets alone."""
    options = {**options, "shuffle": shuffle, "autoreset_mode": mode}
    together = _env(made_up, **options)
    alone = [_env(made_up, num_envs=1, **options) for _ in seeds]
    together.action_space.seed(0)
    observation, info = together.reset(seed=seeds)
    for row, env in enumerate(alone):
        # A list of one seed is that seed.
        _assert_same(
            (_of(row, observation), _of(row, info)), tuple(_of(0, part) for part in env.reset(seed=seeds[row]))
        )
    over = np.zeros(3, dtype=bool)
    for mask in masks:
        needed = over if mode == AutoresetMode.DISABLED else np.zeros(3, dtype=bool)
        if mask is not None or needed.any():
            reset = needed | (np.array(mask) if mask is not None else False)
            observation, info = together.reset(options={"reset_mask": reset})
            over &= ~reset
            for row in np.flatnonzero(reset):
                expected = alone[row].reset()
                _assert_same((_of(row, observation), _of(row, info)), tuple(_of(0, part) for part in expected))
            assert [bool(has) for has in info["_video"]] == reset.tolist()
        actions = together.action_space.sample()
        given_back = together.step(torch.from_numpy(actions))
        for row, env in enumerate(alone):
            expected = env.step(torch.from_numpy(actions[row : row + 1]))
            _assert_same([_of(row, part) for part in given_back], [_of(0, part) for part in expected])
        over = given_back[2].numpy()


def test_the_others_go_on_at_their_own_step(made_up: MadeUp) -> None:
    """In numbers: the source's own tables."""
    env = _env(made_up, videos=7, shuffle=False, autoreset_mode=AutoresetMode.DISABLED)
    maps = env.source.maps  # type: ignore[attr-defined]
    env.reset()
    first = env.step(torch.zeros(3, dtype=torch.long))[0]
    kept = first.clone()
    observation, info = env.reset(options={"reset_mask": np.array([False, True, False])})
    assert torch.equal(first, kept)
    assert info["video"].tolist() == [0, 3, 2]
    assert info["_video"].tolist() == info["_visit"].tolist() == [False, True, False]
    assert torch.equal(observation, torch.stack((maps[0, 1], maps[3, 0], maps[2, 1])))
    ends = []
    for step in range(2, 5):
        observation, _, terminated, _, info = env.step(torch.zeros(3, dtype=torch.long))
        frames = [min(step, 3), step - 1, min(step, 3)]
        expected = torch.stack([maps[video, frame] for video, frame in zip([0, 3, 2], frames, strict=True)])
        assert torch.equal(observation, expected)
        assert torch.equal(info["label"], env.source.labels[[0, 3, 2]])  # type: ignore[attr-defined]
        ends.append(terminated.tolist())
    assert ends == [[False] * 3, [False] * 3, [True, False, True]]
    with pytest.raises(gym.error.ResetNeeded, match="the episodes of environments 0, 2 are over"):
        env.step(torch.zeros(3, dtype=torch.long))
    env.reset(options={"reset_mask": terminated.numpy()})
    assert env.step(torch.zeros(3, dtype=torch.long))[2].tolist() == [False, True, False]


def test_chosen_videos_for_some(made_up: MadeUp) -> None:
    env = _env(made_up, videos=7, shuffle=False)
    env.reset()
    _, info = env.reset(options={"reset_mask": torch.tensor([True, False, True]), "videos": [6, 99, 5]})
    assert info["video"].tolist() == [6, 1, 5]


def test_statistics_of_episodes_that_end(made_up: MadeUp) -> None:
    env = _env(made_up, autoreset_mode=AutoresetMode.NEXT_STEP)
    env.reset()
    rewards = [env.step(torch.tensor([0, 1, 2]))[1]]
    env.reset(options={"reset_mask": np.array([False, False, True])})
    for _ in range(2):
        *_, info = step = env.step(torch.tensor([0, 1, 2]))
        rewards.append(step[1])
        assert "episode" not in info
    *_, info = step = env.step(torch.tensor([0, 1, 2]))
    rewards.append(step[1])
    assert info["_episode"].tolist() == [True, True, False]
    torch.testing.assert_close(info["episode"]["r"][:2], torch.stack(rewards).sum(0)[:2])
    assert info["episode"]["l"].tolist() == [4, 4, 0]
    assert (info["episode"]["t"][:2] > 0).all()
    assert info["episode"]["r"][2] == info["episode"]["t"][2] == 0
    *_, info = step = env.step(torch.tensor([0, 1, 2]))
    # Environments 0 and 1 have reset; 2 has taken its last step.
    assert step[1][:2].tolist() == [0, 0]
    assert info["_logits"].tolist() == info["_episode"].tolist() == [False, False, True]
    assert info["episode"]["l"].tolist() == [0, 0, 4]
    torch.testing.assert_close(info["episode"]["r"][2], sum(one[2] for one in [*rewards[1:], step[1]]))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("count", [2, 5])
def test_one_seed_is_one_order_for_all(made_up: MadeUp, mode: AutoresetMode, count: int) -> None:
    env = _env(made_up, videos=10, num_envs=count, autoreset_mode=mode)
    rows = [env.reset(seed=3)[1]["video"], *(env.reset()[1]["video"] for _ in range(10 // count - 1))]
    assert sorted(torch.cat(rows).tolist()) == list(range(10))
    alone = _env(made_up, videos=10, num_envs=1, autoreset_mode=mode)
    expected = [alone.reset(seed=3)[1]["video"], *(alone.reset()[1]["video"] for _ in range(9))]
    assert torch.equal(torch.cat(rows), torch.cat(expected))


def test_seeds_of_some_environments(made_up: MadeUp) -> None:
    source = made_up(videos=20)
    orders = VideoOrders(source, seed=0, shuffle=True)
    orders.restart_each([0, 1, 2], [4, None, 4])
    first, _ = orders.take([0, 1, 2])
    assert first[0] == first[2]
    assert len(set(orders.seeds([0, 1, 2]))) == 2
    ahead = orders.take([0])[0]
    orders.restart_each([0, 1, 2], [None, None, 4])
    again, _ = orders.take([0, 1, 2])
    assert again[2] == first[2]
    # Without a seed an environment goes on in its order.
    assert [first[0], ahead, again[0]] == VideoOrder(source, seed=4, shuffle=True).take(3)[0].tolist()
    assert again[1] != first[1]
    orders.restart([0, 1, 2], 4)
    assert orders.all_shared
    assert orders.take([0, 1, 2])[0][0] == first[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": [1, 2]}, r"got 2 seeds; give one int, or one for each of the 3"),
        ({"seed": "5"}, r"reset\(seed='5'\): give an int, or a list"),
        ({"seed": [1, 2, 0.5]}, r"give an int, or a list"),
        ({"options": {"reset_mask": np.array([True, True])}}, "give 3 booleans, at least one of them true"),
        ({"options": {"reset_mask": np.array([1, 0, 1])}}, "give 3 booleans"),
        ({"options": {"reset_mask": np.zeros(3, dtype=bool)}}, "at least one of them true"),
    ],
)
def test_what_cannot_be_reset(made_up: MadeUp, options: dict[str, Any], message: str) -> None:
    env = _env(made_up)
    env.reset()
    with pytest.raises(UserError, match=message):
        env.reset(**options)


def test_some_cannot_be_reset_before_all_were(made_up: MadeUp) -> None:
    with pytest.raises(gym.error.ResetNeeded, match="all environments before resetting some"):
        _env(made_up).reset(options={"reset_mask": np.array([True, False, True])})


class _Scripted:
    """Actions (B, T) that belong to the episode."""

    def act(self, observation: Tensor, info: Any, *, deterministic: bool) -> PolicyOutput:
        return PolicyOutput(action=_actions(info))


def _actions(info: Any) -> Tensor:
    return (info["video"][:, None] * 7 + info["visit"][:, None] * 3 + torch.arange(FRAMES) * 5) % ACTIONS


@settings(max_examples=30)
@given(
    num_envs=st.integers(1, 9),
    mode=st.sampled_from(MODES),
    positions=st.sampled_from([0, 1, 3]),
    order=st.permutations(range(7)),
)
def test_a_videos_numbers_are_its_own(
    made_up: MadeUp, num_envs: int, mode: AutoresetMode, positions: int, order: list[int]
) -> None:
    """Whatever the number of environments and the order: what the video earns in a batch of its own."""
    reward = RewardConfig(baseline_positions=positions)
    env = _env(made_up, videos=7, num_envs=num_envs, autoreset_mode=mode, reward=reward)
    videos = torch.tensor(order * 2)[:num_envs]
    _, info = env.reset(options={"videos": videos})
    actions, paid = _actions(info), []
    for step in range(FRAMES):
        _, rewards, _, _, info = env.step(actions[:, step])
        paid.append(rewards)
    logits = (info["final_info"] if mode == AutoresetMode.SAME_STEP else info)["logits"]
    judge = _env(made_up, videos=7, num_envs=1, reward=reward)
    for row, video in enumerate(videos):
        expected = judge.rollout(_Scripted(), episodes=judge.source.episodes(video[None]))
        torch.testing.assert_close(torch.stack(paid, dim=1)[row], expected.reward[0])
        torch.testing.assert_close(logits[row], expected.logits[0, -1])


def test_seeded_environments_roll_out_as_they_step(made_up: MadeUp) -> None:
    stepped, rolled = _env(made_up), _env(made_up)
    for env in (stepped, rolled):
        env.reset(seed=[3, 8, 8])
    _, info = stepped.reset()
    for _ in range(3):
        actions = _actions(info)
        rollout = rolled.rollout(_Scripted())
        assert torch.equal(rollout.output.action, actions)
        for step in range(FRAMES):
            _, reward, _, _, info = stepped.step(actions[:, step])
            torch.testing.assert_close(rollout.reward[:, step], reward)
    assert torch.equal(rollout.reward[1], rollout.reward[2])
    assert not torch.equal(rollout.reward[0], rollout.reward[1])


def test_an_episode_has_its_own_visits_augmentation(made_up: MadeUp) -> None:
    """A batch that ends a pass holds videos of two visits."""
    source = made_up(videos=4)
    plain = source.episodes

    def augmented(videos: Tensor, *, epoch: int = 0) -> Any:
        episodes = plain(videos)
        episodes.global_map = episodes.global_map + 100 * epoch
        return episodes

    source.episodes = augmented
    env = PatchSelectionVectorEnv(source, GRUClassifier(input_dim=11, num_classes=3, hidden=8), num_envs=3)
    env.reset()
    observation, info = env.reset()
    assert info["visit"].tolist() == [0, 1, 1]
    expected = source.maps[info["video"], 0] + 100 * info["visit"][:, None, None, None]
    torch.testing.assert_close(observation, expected)


class _Operations(TorchDispatchMode):
    """Counts torch's operations."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("partial", [False, True])
def test_a_step_costs_as_many_operations_for_any_number_of_environments(made_up: MadeUp, partial: bool) -> None:
    counts = set()
    for num_envs in (2, 50):
        env = _env(made_up, videos=500, num_envs=num_envs, last_action=True)
        env.reset()
        actions = torch.zeros(num_envs, dtype=torch.long)
        if partial:
            env.step(actions)
            env.reset(options={"reset_mask": np.arange(num_envs) % 2 == 0})
        with _Operations() as operations:
            for _ in range(6):  # beyond the end of episodes
                env.step(actions)
        counts.add(operations.count)
    assert len(counts) == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", [0, [0, 1, 2]])
@pytest.mark.parametrize("options", [{}, {"action_space": "continuous", "last_action": True, "time_step": True}])
def test_nothing_waits_for_the_device(
    made_up: MadeUp, mode: AutoresetMode, seed: int | list[int | None], options: dict[str, Any]
) -> None:
    """Tensors of the meta device have no values: whoever reads one fails."""
    env = _env(made_up, device="meta", autoreset_mode=mode, **options)
    actions = torch.from_numpy(env.action_space.sample()).to("meta")
    env.reset(seed=seed)
    env.step(actions)
    env.reset(options={"reset_mask": np.array([True, False, False])})
    for _ in range(3):
        observation, reward, *_ = env.step(actions)
    if mode == AutoresetMode.DISABLED:
        env.reset(options={"reset_mask": np.array([False, True, True])})
    for _ in range(1 if mode == AutoresetMode.DISABLED else 4):
        observation, reward, *_ = env.step(actions)
    assert reward.is_meta
    assert all(part.is_meta for part in (observation.values() if options else [observation]))
