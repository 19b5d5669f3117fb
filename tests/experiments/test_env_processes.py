"""Environments of a run need its bank and nothing else: no video, no process of their own; and they can be copied."""

from __future__ import annotations

import copy
import multiprocessing
import multiprocessing.process
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml

from adafocus_rl.data.dataset import make_loader
from adafocus_rl.data.processes import run_in_processes
from adafocus_rl.envs import to_numpy
from adafocus_rl.envs.sb3_vec_env import SB3VecEnv
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.gym_entry import open_features
from adafocus_rl.experiments.run import runtime
from adafocus_rl.features import LiveFeatures

PATCHES = "adafocus_rl:AdaFocus/PatchSelection-v0"
SKIPPING = "adafocus_rl:AdaFocus/FrameSkipping-v0"
MAKE: dict[str, tuple[str, dict[str, Any]]] = {
    "patches": (PATCHES, {"split": "val", "render_mode": "rgb_array"}),
    "dict": (PATCHES, {"last_action": True, "time_step": True, "motion": True}),
    "live": (PATCHES, {"features": "live", "action_space": "continuous", "render_mode": "rgb_array"}),
    "skipping": (SKIPPING, {"lambda_": 0.01, "render_mode": "rgb_array"}),
    "find": ("adafocus_rl:AdaFocus/FindThePatch-v0", {"memory": True, "render_mode": "rgb_array"}),
}
COPY: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),  # noqa: S301  # our own
    "cloudpickle": lambda env: cloudpickle.loads(cloudpickle.dumps(env)),
    "deepcopy": copy.deepcopy,
}


def _options(run: Path, name: str) -> tuple[str, dict[str, Any]]:
    name, options = MAKE[name]
    return name, {**options} if "FindThePatch" in name else {"run": str(run), **options}


def _plain(value: Any) -> Any:
    """What can be compared with ==, seconds apart."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items() if name != "t"}
    if isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.dtype == object):
        return [_plain(part) for part in value]
    return (value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


def _life(env: Any, steps: int, *, reset: dict[str, Any] | None = None) -> list[Any]:
    """What an environment gives back in so many steps, after a reset if there are arguments for one."""
    seen = [] if reset is None else [env.reset(**reset)]
    for _ in range(steps):
        seen.append(env.step(env.action_space.sample()))
        if env.render_mode:
            seen.append(env.render())
    return [_plain(part) for part in seen]


@pytest.mark.parametrize("name", MAKE)
def test_a_copy_goes_on_as_the_original(finished: Path, name: str) -> None:
    id, options = _options(finished, name)
    env: Any = gym.make(id, **options)
    env.action_space.seed(5)
    env.reset(seed=3)
    env.step(env.action_space.sample())
    # In the middle of an episode, of the order of videos, and of that of actions.
    copies = [how(env) for how in COPY.values()]
    rest = _life(env, 2) + _life(env, 3, reset={}) + _life(env, 3, reset={"seed": 1})
    for one in copies:
        assert _life(one, 2) + _life(one, 3, reset={}) + _life(one, 3, reset={"seed": 1}) == rest


@pytest.mark.parametrize("name", MAKE)
def test_vector_environments_of_objects_can_be_copied_too(finished: Path, name: str) -> None:
    id, options = _options(finished, name)
    options.pop("render_mode", None)
    env: Any = gym.make_vec(id, num_envs=2, **options)
    arrays, stable = to_numpy(env), SB3VecEnv(env)
    arrays.action_space.seed(0)
    arrays.reset(seed=1)
    actions = [arrays.action_space.sample() for _ in range(6)]
    for how in COPY.values():
        # One state of the environment, and so three lives that must be alike.
        lives = [_plain([one.step(action) for action in actions]) for one in (how(arrays), how(arrays))]
        assert lives[0] == lives[1]
        other = how(stable)
        other.seed(1)
        assert _plain(other.reset()) == _plain(how(arrays).reset(seed=1)[0])
        other = how(env)
        step, expected = (one.step(torch.from_numpy(actions[0])) for one in (other, how(env)))
        torch.testing.assert_close(step[1], expected[1], rtol=0, atol=0)


def test_a_pickle_does_not_hold_the_bank(finished: Path) -> None:
    opened = open_features(finished)
    small = pickle.dumps(opened.source)
    assert len(small) < 3000
    again = pickle.loads(small)  # noqa: S301  # our own
    assert torch.equal(again.labels, opened.source.labels)  # type: ignore[attr-defined]
    assert copy.deepcopy(opened.source) is opened.source


def test_the_epoch_reaches_the_workers_of_a_copied_dataset(finished: Path) -> None:
    dataset = copy.deepcopy(open_features(finished).run.clips.train)
    loader = make_loader(dataset, batch_size=12, workers=1)
    clips = []
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        (batch,) = loader
        clips.append(batch.clips)
    assert not torch.equal(*clips)


@pytest.fixture
def videoless(run: Path, videos: Path) -> Path:
    """A run whose lists and boxes are there, and whose videos are gone."""
    for name in ("train", "val"):
        shutil.rmtree(videos / name)
    _set(run, embedded=None, root=None, train_list=str(videos / "train.csv"), val_list=str(videos / "val.csv"))
    return run


def _set(run: Path, **data: Any) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"] |= data
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def test_the_videos_may_be_gone(finished: Path, videoless: Path, videos: Path) -> None:
    for id, options in (_options(videoless, "patches"), _options(videoless, "skipping")):
        env: Any = gym.make(id, **options)
        expected: Any = gym.make(id, **{**options, "run": str(finished)})
        for one in (env, expected):
            one.action_space.seed(0)
        observed = [[_plain(one.reset(seed=1)), *(_plain(one.step(0)) for _ in range(4))] for one in (env, expected)]
        assert observed[0] == observed[1]
        with pytest.raises(UserError, match=r"no picture of \w+/0000\d.mp4 \(no such file .*put it back into"):
            env.render()
    with pytest.raises(UserError, match=r"none of the 6 videos of .*val.csv can be used"):
        gym.make(PATCHES, run=str(videoless), split="val", features="live")
    (videos / "train.csv").unlink()
    with pytest.raises(UserError, match=r"there is no list file .*train.csv"):
        gym.make(PATCHES, run=str(videoless))


@pytest.mark.parametrize("shared", [False, True])
def test_names_without_endings_need_no_videos_either(
    run: Path, videos: Path, cli: Any, tmp_path: Path, shared: bool
) -> None:
    """What a name means is looked up among the files: without them it stays what the list says."""
    lists = {}
    for split in ("train", "val"):
        rows = [line.split(",") for line in (videos / f"{split}.csv").read_text().splitlines()[1:]]
        lists[split] = videos / f"{split}.txt"
        lists[split].write_text("".join(f"{path.removesuffix('.mp4')} {label}\n" for path, label, _ in rows))
        (videos / f"{split}_boxes.csv").unlink()
    _set(run, embedded=None, root=str(videos), train_list=str(lists["train"]), val_list=str(lists["val"]))
    shutil.rmtree(run / "features")
    store = ["--features", tmp_path / "store"] if shared else []
    assert cli("features", "build", run, *store).code == 0
    for split in ("train", "val"):
        shutil.rmtree(videos / split)
    env = gym.make(PATCHES, run=str(run))
    env.reset(seed=0)
    env.step(0)
    text = lists["train"].read_text()
    first, other = text.split()[1], text.split()[3]
    lists["train"].write_text(text.replace(f" {first}\n", f" {other}\n", 1))
    with pytest.raises(UserError, match="has other labels than the list, whose videos are not there, either"):
        gym.make(PATCHES, run=str(run))


def test_nothing_needs_a_process(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _set(run, workers=2)

    def start(process: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", start)
    for features in ("bank", "live"):
        env = gym.make(PATCHES, run=str(run), features=features, render_mode="rgb_array")
        env.reset(seed=0)
        env.step(0)
        env.render()


def test_a_daemonic_process_decodes_by_itself(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_features(finished, features="live")
    expected = next(iter(opened.source.batches(4)))
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    source = LiveFeatures(opened.recognizer, opened.run.clips.train, device=opened.run.device, workers=2)
    torch.testing.assert_close(next(iter(source.batches(4))).global_map, expected.global_map)
    assert not multiprocessing.active_children()
    assert sorted(run_in_processes(abs, [-3, 4], workers=2, seconds=60)) == [(0, 3), (1, 4)]


def test_a_worker_computes_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.use_threads(2)
    assert torch.get_num_threads() == 2
    runtime.use_threads()
    assert torch.get_num_threads() == 2
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    runtime.use_threads(2)
    assert torch.get_num_threads() == 1


FORKS = """
import gymnasium as gym, torch
from functools import partial
from stable_baselines3.common.vec_env import SubprocVecEnv
torch.set_num_threads(2)
big = torch.ones(1000, 1000)
big @ big  # in two threads, which a fork does not have
make = partial(gym.make, "adafocus_rl:AdaFocus/PatchSelection-v0", run=RUN, features=FEATURES)
envs = gym.make_vec(
    "adafocus_rl:AdaFocus/PatchSelection-v0", num_envs=2, vectorization_mode="async", run=RUN, features=FEATURES,
    vector_kwargs={"context": "fork"},
)
print(envs.reset(seed=0)[0].shape, envs.step(envs.action_space.sample())[1].shape)
envs.close()
envs = SubprocVecEnv([make, make], start_method="fork")
print(envs.reset().shape, envs.step([0, 1])[1].shape)
envs.close()
"""

UNGUARDED = """
import multiprocessing
multiprocessing.set_start_method("spawn")
import gymnasium as gym
for features in ("bank", "live"):
    env = gym.make("adafocus_rl:AdaFocus/PatchSelection-v0", run=RUN, features=features)
    env.reset(seed=0)
    print(env.step(0)[0].shape)
"""

SPAWNS = """
import gymnasium as gym
from functools import partial
from stable_baselines3.common.vec_env import SubprocVecEnv
if __name__ == "__main__":
    make = partial(gym.make, "adafocus_rl:AdaFocus/PatchSelection-v0", run=RUN)
    envs = SubprocVecEnv([make], start_method="forkserver")
    print(envs.reset().shape, envs.step([0])[1].shape)
    envs.close()
"""


def _script(code: str, run: Path, tmp_path: Path) -> list[str]:
    script = tmp_path / "script.py"
    script.write_text(code.replace("RUN", repr(str(run))))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.parametrize("features", ["bank", pytest.param("live", marks=pytest.mark.long)])
def test_environments_in_forks(run: Path, tmp_path: Path, features: str) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "threads": 2}))
    said = _script(FORKS.replace("FEATURES", repr(features)), run, tmp_path)
    assert said == ["(2, 4096) (2,)"] * 2


@pytest.mark.long
@pytest.mark.slow
def test_a_script_without_a_main_guard(run: Path, tmp_path: Path) -> None:
    _set(run, workers=2)
    assert _script(UNGUARDED, run, tmp_path) == ["(4096,)"] * 2


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="there are no forks")
def test_environments_in_processes_that_are_no_forks(finished: Path, tmp_path: Path) -> None:
    assert _script(SPAWNS, finished, tmp_path) == ["(1, 4096) (1,)"]
