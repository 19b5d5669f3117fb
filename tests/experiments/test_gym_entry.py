"""Environments from a run folder: what stage II trained on, by Gymnasium's id."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3.common.env_checker
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from adafocus_rl.data.decode import decode_frames
from adafocus_rl.envs import (
    FrameSkippingEnv,
    FrameSkippingVectorEnv,
    PatchSelectionEnv,
    PatchSelectionVectorEnv,
    to_numpy,
)
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.gym_entry import open_features
from adafocus_rl.experiments.run.handover import load_agent
from adafocus_rl.features import FeatureBank, LiveFeatures

ON_CPU = not torch.cuda.is_available()
ID = "adafocus_rl:AdaFocus/PatchSelection-v0"


def _make(run: Path, **options: Any) -> Any:
    return gym.make(ID, run=str(run), **options)


def test_a_run_s_environment_is_that_of_stage_ii(finished: Path) -> None:
    env = _make(finished)
    assert isinstance(env.unwrapped, PatchSelectionEnv)
    opened = open_features(finished)
    assert isinstance(opened.source, FeatureBank)
    expected = opened.run.env(opened.source, opened.recognizer.classifier)
    for _ in range(3):
        observation, info = env.reset()
        vector, _ = expected.reset(options={"videos": [info["video"]] * 5})
        assert observation.tolist() == vector[0].flatten().tolist()
        for action in (0, 4, 8, 2):
            observation, reward, terminated, _, info = env.step(action)
            vector, rewards, _, _, facts = expected.step(torch.full((5,), action))
            if info["visit"] == 0:
                assert reward == pytest.approx(rewards[0].item(), abs=1e-6)
        logits = facts["final_info"]["logits"][0]
        assert terminated
        np.testing.assert_allclose(info["logits"], logits.cpu(), atol=1e-5 if ON_CPU else 1e-3)


@pytest.mark.parametrize(("split", "videos"), [("train", 12), ("val", 6)])
def test_the_split_is_chosen(finished: Path, split: str, videos: int) -> None:
    env = _make(finished, split=split)
    assert {env.reset()[1]["video"] for _ in range(videos)} == set(range(videos))


def test_the_run_s_settings_can_be_overridden(finished: Path) -> None:
    env = _make(finished, reward="confidence", seed=3, shuffle=False, observation="vector", flatten=False)
    vector = env.unwrapped.env
    assert (vector.reward_config.kind, vector.seed, vector.shuffle) == ("confidence", 3, False)
    _, info = env.reset()
    _, reward, _, _, info = env.step(0)
    assert reward == pytest.approx(torch.tensor(info["logits"]).softmax(-1)[info["label"]].item(), abs=1e-6)


def test_live_features_take_positions(finished: Path) -> None:
    env = _make(finished, split="val", features="live", action_space="continuous", render_mode="rgb_array")
    assert isinstance(env.unwrapped.env.source, LiveFeatures)
    env.reset()
    env.step([0.3, 0.9])
    assert env.render().shape[1] == 224
    with pytest.raises(UserError, match="'continuous', but these features hold the patches of the grid only"):
        _make(finished, action_space="continuous")


def test_the_picture_is_the_video_s_frame(finished: Path) -> None:
    env = _make(finished, split="val", render_mode="rgb_array")
    _, info = env.reset(options={"video": 2})
    env.step(0)
    env.step(8)
    opened = open_features(finished, split="val")
    # Second of 4 frames out of 8: number int(8 / 4 · 1.5).
    (frame,) = decode_frames(opened.run.clips.val.index.full_path(2), [3])
    large = frame.repeat(7, axis=0).repeat(7, axis=1)
    picture = env.render()
    assert picture.shape == (224 + 24, 224, 3)
    # The last patch begins in the middle; true boxes are outlined as well.
    plain = np.ones((224, 224), dtype=bool)
    plain[112:, 112:] = False
    top, left, height, width = (7 * round(float(value)) for value in info["true_box"][1])
    plain[max(0, top - 7) : top + height + 7, max(0, left - 7) : left + width + 7] = False
    assert plain.sum() > 10_000
    assert (picture[:224][plain] == large[plain]).all()
    assert picture[112, 112].tolist() == [255, 176, 0]


@pytest.mark.parametrize(("name", "options"), [("PatchSelection", {}), ("FrameSkipping", {"lambda_": 0.01})])
def test_both_checkers_find_no_fault(
    finished: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any]
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:   QT5\n")
    for call in ("imshow", "waitKey", "destroyWindow"):
        monkeypatch.setattr(cv2, call, lambda *arguments: None)
    env = gym.make(f"adafocus_rl:AdaFocus/{name}-v0", run=str(finished), render_mode="rgb_array", **options).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env)
        stable_baselines3.common.env_checker.check_env(env, skip_render_check=False)


def test_make_vec_gives_the_vector_environment(finished: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        envs: Any = gym.make_vec(ID, num_envs=4, run=str(finished), autoreset_mode=AutoresetMode.NEXT_STEP)
    assert isinstance(envs, PatchSelectionVectorEnv)
    assert (envs.num_envs, envs.autoreset_mode) == (4, AutoresetMode.NEXT_STEP)
    assert isinstance(envs.reset(seed=1)[0], torch.Tensor)
    assert to_numpy(envs).step(np.zeros(4, dtype=np.int64))[1].shape == (4,)


def test_gymnasium_s_own_vector_of_single_environments(finished: Path) -> None:
    envs: Any = gym.make_vec(ID, num_envs=2, vectorization_mode="sync", run=str(finished))
    _, info = envs.reset(seed=0)
    assert info["true_box"].shape == (2, 4, 4)
    for _ in range(4):
        _, _, terminated, _, _ = envs.step(envs.action_space.sample())
    assert terminated.all()


def test_objects_instead_of_a_run(finished: Path) -> None:
    opened = open_features(finished, split="val")
    env = gym.make(ID, source=opened.source, classifier=opened.recognizer.classifier)
    env.reset()
    env.step(0)


SKIPPING = "adafocus_rl:AdaFocus/FrameSkipping-v0"


def test_frame_skipping_has_the_run_s_agent_and_prices(finished: Path) -> None:
    env: Any = gym.make(SKIPPING, run=str(finished), lambda_=0.25, split="val", render_mode="rgb_array")
    assert isinstance(env.unwrapped, FrameSkippingEnv)
    _, info = env.reset(options={"video": 2})
    opened = open_features(finished, split="val")
    patches = opened.run.env(opened.source, opened.recognizer.classifier)
    policy = load_agent(opened.run, patches)
    rollout = patches.rollout(policy, episodes=opened.source.episodes(torch.tensor([2])), deterministic=True)
    assert env.unwrapped.env.chosen.tolist() == rollout.output.action.tolist()
    # Kept, as in patch selection; the price apart.
    for step in range(4):
        _, _, terminated, _, info = env.step(1)
        expected = opened.source.grid.box(opened.source.grid.action_origin(rollout.output.action[0, step]))
        assert env.unwrapped.env.last_boxes()[0].tolist() == expected.tolist()
    assert terminated
    # On a GPU a step and a sequence are different kernels, in TF32.
    np.testing.assert_allclose(info["logits"], rollout.logits[0, -1].cpu(), atol=1e-5 if ON_CPU else 1e-3)
    with_box = env.render()
    env.reset(options={"video": 2})
    for _ in range(4):
        _, reward, _, _, _ = env.step(0)
        assert reward == 0
    assert (env.render()[:224] != with_box[:224]).any()


def test_make_vec_gives_frame_skipping(finished: Path) -> None:
    envs: Any = gym.make_vec(SKIPPING, num_envs=4, run=str(finished), lambda_=0.01)
    assert isinstance(envs, FrameSkippingVectorEnv)
    again: Any = gym.make_vec(SKIPPING, num_envs=2, patches=envs.patches, policy=envs.policy, lambda_=-1.0)
    again.reset(seed=0)
    assert (again.step(torch.tensor([1, 1]))[1] > 0).all()  # to look is paid for
    with pytest.raises(UserError, match="FrameSkipping-v0 is made either from a run folder or from objects"):
        gym.make_vec(SKIPPING, num_envs=2, patches=envs.patches, lambda_=0.0)


def test_mistakes_are_one_sentence(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="from a run folder or from objects"):
        _make(finished, source=object())
    with pytest.raises(UserError, match="is not a run folder"):
        _make(tmp_path)
    with pytest.raises(UserError, match="split is 'test'"):
        _make(finished, split="test")
