"""What Gymnasium asks of any environment, asked of all our ids: its checkers, wrappers, specifications, vectors."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3.common.env_checker
import torch
from gymnasium import wrappers as single_wrappers
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import vector as vector_wrappers

from adafocus_rl import ENVIRONMENTS
from adafocus_rl.agents import CenterAgent
from adafocus_rl.envs import NumpyVectorEnv, PatchSelectionVectorEnv, to_numpy
from adafocus_rl.envs.numpy_adapter import to_arrays
from adafocus_rl.envs.one_step import observe
from adafocus_rl.envs.sb3_vec_env import SB3VecEnv
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any
T = 4
POSITIONS = {"action_space": "continuous"}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "patches": ("PatchSelection", {}),
    "patches of maps": ("PatchSelection", {"flatten": False, "motion": True}),
    "patches of dicts": ("PatchSelection", {"last_action": True, "time_step": True}),
    "patches of dicts of maps": ("PatchSelection", {"last_action": True, "time_step": True, "flatten": False}),
    "positions": ("PatchSelection", {**POSITIONS, "observation": "vector"}),
    "positions of dicts": ("PatchSelection", {**POSITIONS, "last_action": True, "time_step": True}),
    "skipping": ("FrameSkipping", {"lambda_": 0.01}),
    "skipping of maps": ("FrameSkipping", {"lambda_": 0.01, "flatten": False}),
    "frames": ("FrameSelection", {"until_still": False}),
    "frames of maps, several agents": ("FrameSelection", {"until_still": False, "agents": 2, "flatten": False}),
    "frames by jumps": ("FrameSelection", {"moves": "jump", "agents": 3, "reward": "margin"}),
    "patch by patch": ("LastCrop", {}),
    "positions one by one": ("LastCrop", {**POSITIONS, "reward": "confidence"}),
    "find": ("FindThePatch", {}),
    "find, from memory": ("FindThePatch", {"memory": True, "observation": "vector"}),
    "find sizes": ("FindThePatch", {"patch_scales": (1.0, 2.0), "last_action": True}),
    "find positions": ("FindThePatch", {**POSITIONS, "last_action": True}),
}


@pytest.fixture(scope="module", autouse=True)
def _no_screen() -> Iterator[None]:
    """As on any machine for tests; pictures in windows go nowhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDL_VIDEODRIVER", "dummy")
        patch.delenv("DISPLAY", raising=False)
        patch.delenv("WAYLAND_DISPLAY", raising=False)
        yield


def _objects(name: str, made_up: MadeUp, options: dict[str, Any]) -> dict[str, Any]:
    """What gymnasium.make takes instead of a run."""
    if name == "FindThePatch":
        return options
    torch.manual_seed(0)
    source, classifier = made_up(frames=T), GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    if name in ("PatchSelection", "FrameSelection", "LastCrop"):
        return {"source": source, "classifier": classifier, **options}
    patches = PatchSelectionVectorEnv(source, classifier, num_envs=3)
    return {"patches": patches, "policy": CenterAgent(patches), **options}


def _make(case: str, made_up: MadeUp, **more: Any) -> Any:
    name, options = CASES[case]
    return gym.make(f"adafocus_rl:AdaFocus/{name}-v0", **_objects(name, made_up, {**options, **more}))


def _make_vec(case: str, made_up: MadeUp, **more: Any) -> Any:
    name, options = CASES[case]
    options = {key: value for key, value in options.items() if key != "flatten"}
    return gym.make_vec(f"adafocus_rl:AdaFocus/{name}-v0", **_objects(name, made_up, {**options, **more}))


def test_every_id_is_asked() -> None:
    assert {f"AdaFocus/{name}-v0" for name, _ in CASES.values()} == set(ENVIRONMENTS)


@pytest.mark.parametrize("case", CASES)
def test_both_checkers_find_no_fault(made_up: MadeUp, case: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for render_mode in ("rgb_array", "human", None):
            env = _make(case, made_up, render_mode=render_mode).unwrapped
            check_env(env, skip_render_check=render_mode is None)
        if "maps" not in case:  # SB3 takes what has three axes for pictures of bytes
            env = _make(case, made_up, render_mode="rgb_array").unwrapped
            # A position is a share of the frame; RescaleAction makes it symmetric for who wants that.
            warnings.filterwarnings("ignore", "We recommend you to use a symmetric and normalized Box action space")
            stable_baselines3.common.env_checker.check_env(env, skip_render_check=False)


@pytest.mark.parametrize("case", CASES)
def test_spaces_seeds_and_steps(made_up: MadeUp, case: str) -> None:
    env, again = _make(case, made_up), _make(case, made_up)
    assert env.observation_space == again.observation_space
    assert env.action_space == again.action_space
    for space in (env.observation_space, env.action_space):
        space.seed(7)
        first = space.sample()
        assert space.contains(first)
        space.seed(7)
        assert data_equivalence(space.sample(), first)
    lives = []
    for one in (env, again):
        one.action_space.seed(1)
        life = [one.reset(seed=11)]
        # One video after another: without a seed the order goes on.
        for _ in range(3):
            for step in range(T):
                life.append(one.step(one.action_space.sample()))
                observation, reward, terminated, truncated, _ = life[-1]
                assert one.observation_space.contains(observation)
                assert type(reward) is float
                assert (terminated, truncated) == (step == T - 1, False)
            life.append(one.reset())
        lives.append(life)
    assert all(data_equivalence(one, other, exact=True) for one, other in zip(*lives, strict=True))
    assert env.np_random.random() == again.np_random.random()
    same = [env.reset(seed=11)[0] for _ in range(2)]
    assert data_equivalence(same[0], same[1], exact=True)
    assert data_equivalence(same[0], lives[0][0][0], exact=True)


@pytest.mark.parametrize("case", CASES)
def test_the_order_of_calls_is_enforced(made_up: MadeUp, case: str) -> None:
    env = _make(case, made_up, render_mode="rgb_array")
    action = env.action_space.sample()
    for one in (env, env.unwrapped):
        for call in (partial(one.step, action), one.render):
            with pytest.raises(gym.error.ResetNeeded):
                call()
    env.reset()
    first = env.render()
    for _ in range(T):
        env.step(action)
    assert env.render().shape == first.shape
    with pytest.raises(gym.error.ResetNeeded, match="over"):
        env.step(action)
    env.close()
    env.close()


def test_specifications_go_round(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gym.pprint_registry()
    said = capsys.readouterr().out
    for id in ENVIRONMENTS:
        name = id.split("/")[1].split("-")[0]
        assert f"AdaFocus/{name}-v0" in said
        registered = gym.spec(id)
        assert EnvSpec.from_json(registered.to_json()) == registered
        options: dict[str, Any] = {} if name == "FindThePatch" else {"run": finished}
        options |= {"lambda_": 0.5} if name == "FrameSkipping" else {}
        options |= {"until_still": False} if name == "FrameSelection" else {}
        env: Any = gym.make(f"adafocus_rl:{id}", **options)
        assert (env.spec.id, env.spec.max_episode_steps) == (id, T)
        json.loads(env.spec.to_json())
        env.spec.pprint(disable_print=True)
        again: Any = gym.make(EnvSpec.from_json(env.spec.to_json()))
        for seed in (0, None):
            assert data_equivalence(env.reset(seed=seed), again.reset(seed=seed), exact=True)
            for step in range(T):
                mine, theirs = env.step(step % 2), again.step(step % 2)
                assert data_equivalence(mine[:3], theirs[:3], exact=True)
                # The last step ends the episode whoever else says so, too.
                assert (mine[2], mine[3]) == (step == T - 1, False)
                assert theirs[3] == (step == T - 1)
        short: Any = gym.make(f"adafocus_rl:{id}", max_episode_steps=2, **options)
        short.reset()
        assert [short.step(0)[2:4] for _ in range(2)] == [(False, False), (False, True)]
        vector: Any = gym.make_vec(f"adafocus_rl:{id}", num_envs=2, **options)
        assert vector.spec.max_episode_steps == T
        again = gym.make_vec(EnvSpec.from_json(vector.spec.to_json()))
        seen = [to_arrays(envs.reset(seed=1)[0]) for envs in (vector, again)]
        assert data_equivalence(seen[0], seen[1], exact=True)
        with pytest.raises(UserError, match=r"max_episode_steps is 3, and these episodes have 4 steps"):
            gym.make_vec(f"adafocus_rl:{id}", max_episode_steps=3, **options)


# ---- wrappers of single environments -------------------------------------------------------------------------------

NOT_HERE = "needs a package that is no dependency of ours"
BYTES = "is for pictures of bytes"
CONVERT = ("NumpyToTorch", "ArrayConversion")
S = single_wrappers
SINGLE: dict[str, str | tuple[str, Callable[[Any], Any]]] = {
    "AtariPreprocessing": "is for the Arcade Learning Environment",
    "GrayscaleObservation": BYTES,
    "ResizeObservation": BYTES,
    "HumanRendering": NOT_HERE,
    "RecordVideo": NOT_HERE,
    "JaxToNumpy": NOT_HERE,
    "JaxToTorch": NOT_HERE,
    "DelayObservation": ("patches", lambda env: S.DelayObservation(env, delay=1)),
    "DtypeObservation": ("patches", lambda env: S.DtypeObservation(env, np.float64)),
    "DiscretizeObservation": (
        "positions of dicts",
        lambda env: S.DiscretizeObservation(S.FlattenObservation(S.FilterObservation(env, ["time_step"])), bins=4),
    ),
    "FilterObservation": ("patches of dicts", lambda env: S.FilterObservation(env, ["features", "time_step"])),
    "FlattenObservation": ("patches of dicts of maps", S.FlattenObservation),
    "FrameStackObservation": ("patches of dicts", lambda env: S.FrameStackObservation(env, 3)),
    "TransformObservation": (
        "patches",
        lambda env: S.TransformObservation(env, lambda seen: seen / 2, env.observation_space),
    ),
    "MaxAndSkipObservation": ("patches", lambda env: S.MaxAndSkipObservation(env, skip=2)),
    "NormalizeObservation": ("patches", S.NormalizeObservation),
    "AddRenderObservation": ("patches", lambda env: S.AddRenderObservation(env, render_only=True)),
    "ReshapeObservation": ("patches", lambda env: S.ReshapeObservation(env, (6, 3))),
    "RescaleObservation": (
        "find",
        lambda env: S.RescaleObservation(
            S.TransformObservation(env, lambda seen: seen, gym.spaces.Box(0, 1, (9,), np.float32)),
            np.float32(-1), np.float32(1),
        ),
    ),
    "TimeAwareObservation": ("patches", S.TimeAwareObservation),
    "ClipAction": ("positions", S.ClipAction),
    "DiscretizeAction": ("positions", lambda env: S.DiscretizeAction(env, bins=3)),
    "TransformAction": ("patches", lambda env: S.TransformAction(env, lambda action: 8 - action, env.action_space)),
    "RescaleAction": ("positions", lambda env: S.RescaleAction(env, np.float32(-1), np.float32(1))),
    "StickyAction": ("patches", lambda env: S.StickyAction(env, 0.5)),
    "RepeatAction": ("skipping", lambda env: S.RepeatAction(env, num_repeats=2)),
    "ClipReward": ("patches", lambda env: S.ClipReward(env, -0.1, 0.1)),
    "TransformReward": ("skipping", lambda env: S.TransformReward(env, lambda reward: 2 * reward)),
    "NormalizeReward": ("patches", S.NormalizeReward),
    "TimeLimit": ("patches", lambda env: S.TimeLimit(env, env.spec.max_episode_steps)),
    "Autoreset": ("patches", S.Autoreset),
    "PassiveEnvChecker": ("positions of dicts", S.PassiveEnvChecker),
    "OrderEnforcing": ("skipping", S.OrderEnforcing),
    "RecordEpisodeStatistics": ("patches", S.RecordEpisodeStatistics),
    "AddWhiteNoise": (
        "patches",
        lambda env: S.AddWhiteNoise(S.AddRenderObservation(env), probability_of_noise_per_pixel=0.5),
    ),
    "ObstructView": (
        "patches",
        lambda env: S.ObstructView(S.AddRenderObservation(env), obstructed_pixels_ratio=0.5, obstruction_width=9),
    ),
    "RenderCollection": ("find", S.RenderCollection),
    "ArrayConversion": ("patches", lambda env: S.ArrayConversion(env, env_xp=np, target_xp=np)),
    "NumpyToTorch": ("patches of dicts", lambda env: S.NumpyToTorch(env)),
}  # fmt: skip
"""Each of Gymnasium's wrappers: a case and how it is put around it, or why it is not."""


@pytest.mark.parametrize("name", sorted({*S.__all__} - {"vector"}))
def test_wrappers_of_single_environments(made_up: MadeUp, name: str) -> None:
    if name not in SINGLE:
        pytest.skip("newer than this table")
    entry = SINGLE[name]
    if isinstance(entry, str):
        pytest.skip(entry)
    case, wrap = entry
    if name in CONVERT:
        pytest.importorskip("array_api_compat")
    env = wrap(_make(case, made_up, render_mode="rgb_array"))
    observation, _ = env.reset(seed=0)
    converts = name in CONVERT
    for _ in range(T):
        if not converts:
            assert env.observation_space.contains(observation)
        action = env.action_space.sample()
        observation, _, terminated, truncated, info = env.step(torch.tensor(action) if converts else action)
        if terminated or truncated:
            break
    # Wrappers that repeat an action take fewer steps.
    assert terminated
    if name == "TimeAwareObservation":
        assert observation[-1] == T
    if name == "RecordEpisodeStatistics":
        assert info["episode"]["l"] == T
    if name == "Autoreset":
        assert env.step(0)[1] == 0
    if name == "RenderCollection":
        assert len(env.render()) == T + 1


# ---- wrappers of vector environments -------------------------------------------------------------------------------

V = vector_wrappers
VECTOR: dict[str, str | tuple[str, Callable[[Any], Any]]] = {
    "GrayscaleObservation": BYTES,
    "ResizeObservation": BYTES,
    "HumanRendering": NOT_HERE,
    "RecordVideo": NOT_HERE,
    "JaxToNumpy": NOT_HERE,
    "JaxToTorch": NOT_HERE,
    "VectorizeTransformObservation": (
        "patches of maps",
        lambda env: V.VectorizeTransformObservation(env, S.FlattenObservation),
    ),
    "VectorizeTransformAction": ("positions", lambda env: V.VectorizeTransformAction(env, S.ClipAction)),
    "VectorizeTransformReward": (
        "patches",
        lambda env: V.VectorizeTransformReward(env, S.TransformReward, func=lambda reward: 2 * reward),
    ),
    "DictInfoToList": ("patches", V.DictInfoToList),
    "TransformObservation": (
        "patches",
        lambda env: V.TransformObservation(
            env, lambda seen: seen / 2, env.observation_space, env.single_observation_space
        ),
    ),
    "FilterObservation": ("patches of dicts", lambda env: V.FilterObservation(env, ["features"])),
    "FlattenObservation": ("patches of dicts", V.FlattenObservation),
    "ReshapeObservation": ("patches", lambda env: V.ReshapeObservation(env, (18,))),
    "RescaleObservation": (
        "positions of dicts",
        lambda env: V.RescaleObservation(
            V.FlattenObservation(V.FilterObservation(env, ["time_step"])), np.float32(-1), np.float32(1)
        ),
    ),
    "DtypeObservation": ("patches", lambda env: V.DtypeObservation(env, np.float64)),
    "NormalizeObservation": ("patches", V.NormalizeObservation),
    "TransformAction": (
        "patches",
        lambda env: V.TransformAction(env, lambda action: 8 - action, env.action_space, env.single_action_space),
    ),
    "ClipAction": ("positions", V.ClipAction),
    "RescaleAction": ("positions", lambda env: V.RescaleAction(env, np.float32(-1), np.float32(1))),
    "TransformReward": ("skipping", lambda env: V.TransformReward(env, lambda reward: 2 * reward)),
    "ClipReward": ("patches", lambda env: V.ClipReward(env, -0.1, 0.1)),
    "NormalizeReward": ("patches", V.NormalizeReward),
    "RecordEpisodeStatistics": ("patches", V.RecordEpisodeStatistics),
    "ArrayConversion": ("patches", lambda env: V.ArrayConversion(env, env_xp=np, target_xp=np)),
    "NumpyToTorch": ("patches of dicts", lambda env: V.NumpyToTorch(env)),
}


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("name", sorted(V.__all__))
def test_wrappers_of_vector_environments(made_up: MadeUp, name: str, mode: AutoresetMode) -> None:
    if name not in VECTOR:
        pytest.skip("newer than this table")
    entry = VECTOR[name]
    if isinstance(entry, str):
        pytest.skip(entry)
    case, wrap = entry
    if name in CONVERT:
        pytest.importorskip("array_api_compat")
    inner = to_numpy(_make_vec(case, made_up, num_envs=3, autoreset_mode=mode))
    if mode == AutoresetMode.SAME_STEP and name.endswith("Observation"):
        # Gymnasium's, whoever made the environment. Before 1.4 it has no message.
        said = "^$" if gym.__version__.startswith(("1.1.", "1.2.", "1.3.")) else "autoreset"
        with pytest.raises((ValueError, AssertionError), match=said):
            wrap(inner)
        return
    env = wrap(inner)
    observation, _ = env.reset(seed=0)
    converts = name in CONVERT
    ended = []
    for _ in range(2 * T + 2):
        if not converts:
            assert env.observation_space.contains(observation)
        action = env.action_space.sample()
        action = torch.from_numpy(action) if name == "NumpyToTorch" else action
        observation, _, terminated, *_ = env.step(action)
        ended.append(bool(np.asarray(terminated).all()))
    period = T if mode == AutoresetMode.SAME_STEP else T + 1
    assert ended == [step % period == T - 1 for step in range(2 * T + 2)]
    assert env.num_envs == 3
    env.close()


# ---- vectors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("case", CASES)
def test_vectors_by_any_way_are_the_same(made_up: MadeUp, case: str, mode: AutoresetMode) -> None:
    """Gymnasium's vector of single environments, and ours with a seed for each."""
    options = {"shuffle": True}
    name, more = CASES[case]
    made = _objects(name, made_up, {**more, **options, "flatten": False})
    theirs: Any = gym.make_vec(
        f"adafocus_rl:AdaFocus/{name}-v0",
        num_envs=2,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
        **made,
    )
    ours = to_numpy(_make_vec(case, made_up, num_envs=2, autoreset_mode=mode, **options))
    assert theirs.metadata["autoreset_mode"] == ours.metadata["autoreset_mode"] == ours.autoreset_mode == mode
    assert ours.unwrapped.autoreset_mode == mode
    assert (ours.num_envs, ours.closed) == (2, False)
    assert ours.action_space == theirs.action_space
    theirs.action_space.seed(0)
    mine, other = ours.reset(seed=[3, 4])[0], theirs.reset(seed=[3, 4])[0]
    for _ in range(2 * T + 1):
        assert data_equivalence(mine, other) or _close(mine, other)
        actions = theirs.action_space.sample()
        mine, reward, terminated, truncated, info = ours.step(actions)
        other, rewards, terminateds, truncateds, infos = theirs.step(actions)
        np.testing.assert_allclose(reward, rewards, rtol=1e-4, atol=1e-5)
        assert reward.dtype == rewards.dtype
        assert (terminated == terminateds).all()
        assert (truncated == truncateds).all()
        assert ("final_obs" in info) == ("final_obs" in infos)
        if "final_obs" in info:
            assert info["final_obs"].dtype == infos["final_obs"].dtype == object
            assert (info["_final_obs"] == infos["_final_obs"]).all()
            assert all(_close(one, two) for one, two in zip(info["final_obs"], infos["final_obs"], strict=True))
        if mode == AutoresetMode.DISABLED and terminated.any():
            options = {"reset_mask": terminated.copy()}
            mine, other = ours.reset(options=dict(options))[0], theirs.reset(options=dict(options))[0]
    for env in (ours, theirs):
        env.close()
        env.close()
        assert env.closed


def _close(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_close(one[name], other[name]) for name in one)
    return one.dtype == other.dtype and bool(np.allclose(one, other, rtol=1e-4, atol=1e-5))


@pytest.mark.parametrize("case", CASES)
def test_pictures_of_vectors_are_those_of_single_ones(made_up: MadeUp, case: str) -> None:
    alone = _make(case, made_up, render_mode="rgb_array")
    for mode in AutoresetMode:
        envs = _make_vec(case, made_up, num_envs=2, render_mode="rgb_array", autoreset_mode=mode)
        assert (envs.render_mode, envs.metadata["render_modes"]) == ("rgb_array", ["rgb_array"])
        with pytest.raises(gym.error.ResetNeeded):
            envs.render()
        arrays = to_numpy(envs)
        arrays.reset(seed=0, options={"videos": [3, 5]})
        alone.reset(seed=0, options={"video": 5})
        arrays.action_space.seed(2)
        for _ in range(T - 1):
            pictures = arrays.render()
            assert isinstance(pictures, tuple)
            assert [picture.dtype for picture in pictures] == [np.uint8] * 2
            assert (pictures[1] == alone.render()).all()
            actions = arrays.action_space.sample()
            arrays.step(actions)
            alone.step(actions[1])
        last = arrays.render()[1]
        assert (last == alone.render()).all()
        arrays.step(arrays.action_space.sample())
        # The next episode's first frame; or the last one's, until it is reset.
        assert (arrays.render()[1] != last).any()
    assert _make_vec(case, made_up, num_envs=2).render() is None
    with pytest.raises(UserError, match=r"'human'.*takes 'rgb_array' or None"):
        _make_vec(case, made_up, num_envs=2, render_mode="human")


def test_one_object_is_called_as_many(made_up: MadeUp) -> None:
    envs = _make_vec("patches", made_up, num_envs=3)
    assert envs.unwrapped is envs
    for env in (envs, to_numpy(envs)):
        assert env.call("num_envs") == (3, 3, 3)
        assert env.get_attr("seed") == (0, 0, 0)
        env.set_attr("seed", 5)
        env.set_attr("seed", [6, 6, 6])
        assert envs.seed == 6
        with pytest.raises(UserError, match="are one object"):
            env.set_attr("seed", [1, 2, 3])
        with pytest.raises(AttributeError):
            env.get_attr("nothing")
        env.set_attr("seed", 0)
    arrays = to_numpy(envs)
    assert isinstance(arrays.call("reset", seed=1)[0][0], np.ndarray)


# ---- actions -------------------------------------------------------------------------------------------------------

GRID = [(4, 4), (np.int64(4), 4), (np.uint8(4), 4), (np.array(4), 4), (np.array(4, dtype=np.int32), 4)]
BAD_GRID = [9, -1, 2.0, np.float32(1), [1], None, "left", 2**70, 1j, {}, np.uint64(2**63)]
BAD_POSITIONS = [[0.5], 0.5, [0.1, 0.2, 0.3], [np.nan, 0.5], None, "left", [1j, 0], [[0.1, 0.2]]]


def _ways(case: str, made_up: MadeUp) -> list[Callable[[Any], Any]]:
    """One action taken by the single environment, and by each form of the vector environment with B = 1."""
    envs = _make_vec(case, made_up, num_envs=1)
    arrays, stable = to_numpy(envs), SB3VecEnv(_make_vec(case, made_up, num_envs=1))
    alone = _make(case, made_up, disable_env_checker=True)
    for env in (envs, alone):
        env.reset(seed=0)
    stable.seed(0)
    stable.reset()
    return [
        lambda action: float(alone.step(action)[1]),
        lambda action: float(envs.step([action])[1]),
        lambda action: float(arrays.step([action])[1][0]),
        lambda action: float(stable.step([action])[1][0]),
    ]


def test_actions_of_the_grid(made_up: MadeUp) -> None:
    for given, meant in GRID:
        rewards = [way(given) for way in _ways("patches", made_up)]
        expected = [way(meant) for way in _ways("patches", made_up)]
        assert rewards == pytest.approx(expected, abs=1e-6)
    for way in _ways("patches", made_up):
        for bad in BAD_GRID:
            with pytest.raises(UserError, match=r"(one|\(1,\)) of Discrete\(9\)"):
                way(bad)
        way(3)  # nothing has happened


def test_positions(made_up: MadeUp) -> None:
    for given, meant in (
        ([-1, 3], [0.0, 1.0]), (np.array([0.5, 1e9]), [0.5, 1.0]), ((np.inf, -np.inf), [1.0, 0.0]),
        (np.array([1, 0], dtype=np.uint8), [1.0, 0.0]), (np.array([0.5, 0.25], dtype=np.float16), [0.5, 0.25]),
    ):  # fmt: skip
        rewards = [way(given) for way in _ways("positions", made_up)]
        expected = [way(meant) for way in _ways("positions", made_up)]
        assert rewards == pytest.approx(expected, abs=1e-6)
    for way in _ways("positions", made_up):
        for bad in BAD_POSITIONS:
            with pytest.raises(UserError, match=r"(one|\(1,\)) of Box\(0.0, 1.0, \(2,\), float32\)"):
                way(bad)
        way([0.2, 0.3])


def test_an_array_of_actions_stays_the_caller_s(made_up: MadeUp) -> None:
    for case, dtype in (("patches", np.int64), ("positions", np.float32)):
        envs = _make_vec(case, made_up, num_envs=2, last_action=True, autoreset_mode=AutoresetMode.DISABLED)
        arrays: NumpyVectorEnv = to_numpy(envs)
        arrays.reset(seed=0)
        actions = np.ones(arrays.action_space.shape or (), dtype=dtype)
        observation, *_ = arrays.step(actions)
        before = observation["last_action"].copy()
        actions[:] = 0
        assert (observe(envs.problem, envs._running)["last_action"].numpy() == before).all()
