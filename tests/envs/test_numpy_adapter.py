"""NumPy outside: the same numbers, and Gymnasium's vector wrappers on top of them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import (
    ClipReward,
    DictInfoToList,
    FlattenObservation,
    NormalizeObservation,
    NormalizeReward,
    RecordEpisodeStatistics,
    TransformObservation,
)
from packaging.version import Version
from torch import Tensor

from adafocus_rl.envs import FindThePatchVectorEnv, PatchSelectionVectorEnv, to_numpy
from adafocus_rl.envs.numpy_adapter import list_infos, to_arrays, to_tensors
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any
MODES = [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP]

needs_modes = pytest.mark.skipif(
    Version(gym.__version__) < Version("1.4"), reason="older wrappers do not tell SAME_STEP from NEXT_STEP"
)


def _env(made_up: MadeUp, mode: AutoresetMode = AutoresetMode.SAME_STEP) -> PatchSelectionVectorEnv:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    return PatchSelectionVectorEnv(made_up(), classifier, num_envs=3, autoreset_mode=mode)


def _actions(steps: int) -> Any:
    return np.random.default_rng(0).integers(0, 9, (steps, 3))


def _same(arrays: Any, tensors: Any) -> None:
    if isinstance(tensors, dict):
        assert arrays.keys() == tensors.keys()
        for name in tensors:
            # The object array, looked at elsewhere.
            if name != "final_obs":
                _same(arrays[name], tensors[name])
    else:
        assert isinstance(arrays, np.ndarray)
        np.testing.assert_array_equal(arrays, tensors.numpy())


def _without_statistics(info: Any) -> Any:
    info = {name: value for name, value in info.items() if name not in ("episode", "_episode")}
    if "final_info" in info:
        info["final_info"] = _without_statistics(info["final_info"])
    return info


@pytest.mark.parametrize("mode", MODES)
def test_all_is_numpy_and_the_same(made_up: MadeUp, mode: AutoresetMode) -> None:
    env, original = to_numpy(_env(made_up, mode)), _env(made_up, mode)
    assert env.metadata["autoreset_mode"] == mode
    observation, info = env.reset(seed=3)
    expected = original.reset(seed=3)
    _same(observation, expected[0])
    _same(info, expected[1])
    for actions in _actions(10):
        assert observation in env.observation_space
        *parts, info = env.step(actions)
        *originals, facts = original.step(torch.from_numpy(actions))
        observation = parts[0]
        for part, value in zip(parts, originals, strict=True):
            _same(part, value)
        assert [part.dtype for part in parts[1:]] == [np.float64, np.bool_, np.bool_]
        _same(info, _without_statistics(facts))


def test_an_environment_s_own_statistics_may_stay(made_up: MadeUp) -> None:
    rewards, _ = _rewards(made_up, AutoresetMode.SAME_STEP, 4)
    for statistics in (False, True):
        env = to_numpy(_env(made_up), statistics=statistics)
        env.reset()
        for actions in _actions(4):
            *_, info = env.step(actions)
        assert ("episode" in info) == ("_episode" in info) == statistics
    np.testing.assert_allclose(info["episode"]["r"], rewards.sum(0).numpy(), rtol=1e-5)


def test_positions_and_dicts() -> None:
    env = to_numpy(FindThePatchVectorEnv(num_envs=5, num_frames=2, action_space="continuous", last_action=True))
    observation, _ = env.reset()
    assert observation in env.observation_space
    cells = observation["features"].reshape(5, 9).argmax(1)
    positions = np.stack((cells // 3, cells % 3), axis=1).astype(np.float32) / 2
    observation, reward, *_ = env.step(positions)
    assert reward.tolist() == [1.0] * 5
    np.testing.assert_array_equal(observation["last_action"], positions)
    *_, info = env.step(positions)
    assert info["final_obs"][4].keys() == {"features", "last_action"}
    np.testing.assert_array_equal(info["final_obs"][4]["last_action"], positions[4])


def test_final_observations_are_an_array_of_observations(made_up: MadeUp) -> None:
    env, original = to_numpy(_env(made_up)), _env(made_up)
    env.reset()
    original.reset()
    for actions in _actions(4):
        *_, info = env.step(actions)
        *_, facts = original.step(torch.from_numpy(actions))
    assert (info["final_obs"].shape, info["final_obs"].dtype) == ((3,), object)
    for row in range(3):
        np.testing.assert_array_equal(info["final_obs"][row], facts["final_obs"][row].numpy())


def test_what_comes_out_can_be_written_to(made_up: MadeUp) -> None:
    vector = _env(made_up)
    before = vector.source.maps.clone()
    env = to_numpy(vector)
    observation, info = env.reset()
    observation[:] = 7
    info["video"][:] = 7
    observation, reward, *_ = env.step(np.zeros(3, dtype=np.int64))
    observation[:] = 7
    reward[:] = 7
    assert torch.equal(vector.source.maps, before)


def test_infos_one_by_one() -> None:
    has = np.array([True, False])
    infos = {"a": np.arange(2), "_a": has, "b": {"c": np.arange(2), "_c": ~has}, "_b": ~has, "d": {"e": np.arange(2)}}
    assert list_infos(infos, 2) == [{"a": 0, "d": {"e": 0}}, {"b": {"c": 1}, "d": {"e": 1}}]


def test_trees_keep_their_shape() -> None:
    tree = {"a": (torch.ones(2), {"b": torch.tensor([True])}), "c": None}
    arrays = to_arrays(tree)
    assert isinstance(arrays["a"], tuple)
    assert arrays["a"][0].tolist() == [1, 1]
    assert arrays["a"][1]["b"].dtype == np.bool_
    assert arrays["c"] is None
    back = to_tensors({"a": arrays["a"], "c": [1, 2]})
    assert torch.equal(back["a"][0], torch.ones(2))
    assert torch.equal(back["c"], torch.tensor([1, 2]))


# ---- Gymnasium's wrappers ---------------------------------------------------------------------------------------


def _rewards(made_up: MadeUp, mode: AutoresetMode, steps: int) -> tuple[Tensor, Tensor]:
    """Rewards and ends (steps, B) of the environment as it is."""
    env = _env(made_up, mode)
    env.reset()
    played = [env.step(torch.from_numpy(actions)) for actions in _actions(steps)]
    return torch.stack([one[1] for one in played]), torch.stack([one[2] for one in played])


@needs_modes
@pytest.mark.parametrize("mode", MODES)
def test_episode_statistics(made_up: MadeUp, mode: AutoresetMode) -> None:
    # With NEXT_STEP one call more per episode, which resets.
    calls = 4 if mode == AutoresetMode.SAME_STEP else 5
    rewards, _ = _rewards(made_up, mode, 3 * calls)
    env: Any = RecordEpisodeStatistics(to_numpy(_env(made_up, mode)))
    env.reset()
    found = []
    for actions in _actions(3 * calls):
        *_, info = env.step(actions)
        if "episode" in info:
            found.append(info["episode"])
    assert len(found) == 3
    for number, episode in enumerate(found):
        assert episode["l"].tolist() == [4, 4, 4]
        start = number * calls
        np.testing.assert_allclose(episode["r"], rewards[start : start + 4].double().sum(0).numpy(), rtol=1e-6)


def test_statistics_with_resets_of_the_caller(made_up: MadeUp) -> None:
    env: Any = RecordEpisodeStatistics(to_numpy(_env(made_up, AutoresetMode.DISABLED)))
    env.reset()
    for _ in range(2):
        for actions in _actions(4):
            _, _, terminated, truncated, info = env.step(actions)
        assert info["episode"]["l"].tolist() == [4, 4, 4]
        env.reset(options={"reset_mask": terminated | truncated})


@needs_modes
@pytest.mark.parametrize("mode", MODES)
def test_normalised_rewards(made_up: MadeUp, mode: AutoresetMode) -> None:
    rewards, ends = _rewards(made_up, mode, 11)
    env: Any = NormalizeReward(to_numpy(_env(made_up, mode)), gamma=0.5)
    env.reset()
    # Gymnasium's running variance (of Chan et al.), written out: all discounted sums so far and a prior of weight 1e-4.
    sums, seen, before = np.zeros(3), [], np.zeros(3, dtype=bool)
    for step, actions in enumerate(_actions(11)):
        _, normalised, *_ = env.step(actions)
        ended = ends[step].numpy()
        if mode == AutoresetMode.SAME_STEP or not before.any():
            sums = sums * 0.5 * (1 - ended) + rewards[step].numpy()
            seen.append(sums)
        before = ended
        if mode == AutoresetMode.SAME_STEP:
            sums = np.where(ended, 0, sums)
        values = np.concatenate(seen)
        weight = 1e-4 + len(values)
        mean = values.sum() / weight
        variance = (1e-4 + (values**2).sum()) / weight - mean**2
        np.testing.assert_allclose(normalised, rewards[step].numpy() / np.sqrt(variance + 1e-8), rtol=1e-3, atol=1e-7)


def test_transformed_observations(made_up: MadeUp) -> None:
    original = _env(made_up, AutoresetMode.NEXT_STEP)
    env: Any = FlattenObservation(to_numpy(_env(made_up, AutoresetMode.NEXT_STEP)))
    expected, _ = original.reset()
    observation, _ = env.reset()
    for actions in _actions(7):
        np.testing.assert_array_equal(observation, expected.flatten(1).numpy())
        assert observation in env.observation_space
        observation, *_ = env.step(actions)
        expected, *_ = original.step(torch.from_numpy(actions))


@needs_modes
def test_a_stack_of_wrappers(made_up: MadeUp) -> None:
    env: Any = to_numpy(_env(made_up, AutoresetMode.NEXT_STEP))
    env = TransformObservation(env, lambda observation: np.clip(observation, 0, None))
    env = ClipReward(NormalizeObservation(env), -0.01, 0.01)
    env = DictInfoToList(RecordEpisodeStatistics(env))
    env.reset(seed=1)
    for actions in _actions(4):
        observation, reward, _, _, infos = env.step(actions)
        assert np.isfinite(observation).all()
        assert np.abs(reward).max() <= 0.01
    assert [info["episode"]["l"] for info in infos] == [4, 4, 4]
    assert all(0 < np.abs(info["episode"]["r"]) <= 0.04 for info in infos)
    assert isinstance(env.unwrapped, PatchSelectionVectorEnv)


def test_gymnasium_makes_it_from_the_id(made_up: MadeUp) -> None:
    envs = gym.make_vec("adafocus_rl:AdaFocus/FindThePatch-v0", num_envs=4, memory=True)
    env: Any = RecordEpisodeStatistics(to_numpy(envs))
    cue, _ = env.reset(seed=0)
    for _ in range(4):
        *_, info = env.step(cue.reshape(4, -1).argmax(1))
    assert info["episode"]["r"].tolist() == [3.0] * 4
