"""One environment: the vector environment's numbers, Gymnasium's manners."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
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
from gymnasium.wrappers import RecordEpisodeStatistics, RecordVideo

from adafocus_rl.data.decode import decode_frames
from adafocus_rl.envs import PatchSelectionEnv, PatchSelectionVectorEnv, single
from adafocus_rl.envs.single import tidy
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any


def _vector(source: Any, **options: Any) -> PatchSelectionVectorEnv:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    return PatchSelectionVectorEnv(
        source, classifier, **{"num_envs": 1, "autoreset_mode": AutoresetMode.DISABLED, **options}
    )


def _single(source: Any, **options: Any) -> PatchSelectionEnv:
    drawing = {name: options.pop(name) for name in ("render_mode", "flatten", "frames") if name in options}
    return PatchSelectionEnv(_vector(source, **options), **drawing)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Pictures that would have been shown."""
    shown: list[Any] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:   QT5\n")
    monkeypatch.setattr(cv2, "imshow", lambda title, picture: shown.append(picture[..., ::-1]))
    monkeypatch.setattr(cv2, "waitKey", lambda milliseconds: -1)
    monkeypatch.setattr(cv2, "destroyWindow", lambda title: None)
    return shown


@pytest.fixture
def strict() -> Iterator[None]:
    """Warnings are errors, Gymnasium's own included."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# ---- the same transition ----------------------------------------------------------------------------------------


def test_its_numbers_are_those_of_the_vector_environment(made_up: MadeUp) -> None:
    env, vector = _single(made_up(), flatten=False), _vector(made_up())
    paid = set()
    for episode in range(3):
        seed = 5 if episode == 0 else None
        observation, info = env.reset(seed=seed)
        expected, facts = vector.reset(seed=seed)
        for step in range(4):
            assert isinstance(observation, np.ndarray)
            assert observation.tolist() == expected[0].tolist()
            assert info["video"] == facts["video"].item()
            action = (3 * episode + step) % 9
            observation, reward, terminated, truncated, info = env.step(np.int64(action))
            expected, rewards, ends, _, facts = vector.step(torch.tensor([action]))
            assert reward == rewards.item()
            paid.add(reward)
            assert (terminated, truncated) == (ends.item(), False)
            assert info["logits"].tolist() == facts["logits"][0].tolist()
        assert terminated
    assert len(paid) > 6


def test_after_the_end_it_waits_for_a_reset(made_up: MadeUp) -> None:
    env = _single(made_up())
    with pytest.raises(gym.error.ResetNeeded):
        env.step(0)
    env.reset()
    assert [env.step(0)[2] for _ in range(4)] == [False, False, False, True]
    with pytest.raises(gym.error.ResetNeeded):
        env.step(0)
    env.reset()
    assert not env.step(0)[2]


def test_what_it_returns_is_its_own(made_up: MadeUp) -> None:
    source = made_up()
    before = source.maps.clone()
    env = _single(source)
    observation, info = env.reset()
    observation[:] = 7
    info["true_box"][:] = 7
    observation, *_, info = env.step(0)
    observation[:] = 7
    assert torch.equal(source.maps, before)
    assert not (info["true_box"] == 7).any()


def test_what_does_not_change_is_not_computed_again(made_up: MadeUp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts are converted once per episode, and boxes are only computed for pictures."""
    converted: list[str] = []
    plain = single._fact
    monkeypatch.setattr(single, "_fact", lambda name, value: [converted.append(name), plain(name, value)][1])
    env = _single(made_up())
    monkeypatch.setattr(env.env, "last_boxes", lambda: pytest.fail("no picture is wanted"))
    for episodes in (1, 2):
        env.reset()
        for _ in range(4):
            env.step(0)
        assert converted.count("true_box") == converted.count("video") == episodes
        assert converted.count("logits") == 4 * episodes


def test_infos_are_plain_and_an_absent_box_is_empty(made_up: MadeUp) -> None:
    source = made_up()
    source.true_boxes[2, 1] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    env = _single(source)
    _, info = env.reset(options={"video": 2})
    assert info.keys() == {"video", "label", "visit", "true_box", "motion"}
    assert [type(info[name]) for name in ("video", "label", "visit")] == [int] * 3
    assert (info["video"], info["label"]) == (2, source.labels[2].item())
    assert info["true_box"].tolist() == [[0] * 4, [1, 2, 3, 4], [0] * 4, [0] * 4]


def test_a_video_may_be_asked_for(made_up: MadeUp) -> None:
    source = made_up()
    env = _single(source)
    observation, info = env.reset(options={"video": np.int64(4)})
    assert info["video"] == 4
    assert observation.tolist() == source.maps[4, 0].flatten().tolist()
    with pytest.raises(UserError, match=r"options\['video'\] is 7"):
        env.reset(options={"video": 7})
    with pytest.raises(UserError, match="options videos; it knows 'video'"):
        env.reset(options={"videos": [1]})


@pytest.mark.parametrize("action", [9, -1, 2.5, [1]])
def test_impossible_actions_are_refused(made_up: MadeUp, action: Any) -> None:
    env = _single(made_up())
    env.reset()
    with pytest.raises(UserError, match=r"expected one of Discrete\(9\)"):
        env.step(action)


def test_it_is_made_of_one_environment_without_autoreset(made_up: MadeUp) -> None:
    with pytest.raises(UserError, match="one of 2 videos"):
        _single(made_up(), num_envs=2)
    with pytest.raises(UserError, match="autoreset_mode SAME_STEP"):
        _single(made_up(), autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(UserError, match="render_mode is 'ansi'"):
        _single(made_up(), render_mode="ansi")


@pytest.mark.parametrize(("flatten", "shape"), [(True, (6,)), (False, (1, 2, 3))])
def test_unbounded_spaces_get_their_type_s_bounds(flatten: bool, shape: tuple[int, ...]) -> None:
    limits = np.finfo(np.float32)
    box = gym.spaces.Box(-np.inf, np.inf, (1, 2, 3), np.float32)
    space = gym.spaces.Dict({"a": box, "b": gym.spaces.Box(0, np.inf, (1,), np.float32), "c": gym.spaces.Discrete(2)})
    found = tidy(space, flatten=flatten)
    assert found == gym.spaces.Dict(
        {
            "a": gym.spaces.Box(limits.min, limits.max, shape, np.float32),
            "b": gym.spaces.Box(0, limits.max, (1,), np.float32),
            "c": gym.spaces.Discrete(2),
        }
    )
    assert found.sample() in found


def test_maps_are_flattened_row_by_row(made_up: MadeUp) -> None:
    env = _single(made_up())
    observation, info = env.reset()
    assert observation.tolist() == env.env.source.maps[info["video"], 0].flatten().tolist()
    assert observation in env.observation_space
    assert env.step(0)[0] in env.observation_space


# ---- manners ----------------------------------------------------------------------------------------------------

IDS = "adafocus_rl:AdaFocus/FindThePatch-v0", "adafocus_rl:AdaFocus/PatchSelection-v0"


def _make(made_up: MadeUp, name: str, **options: Any) -> Any:
    if "PatchSelection" in name:
        source = made_up()
        source.true_boxes[:, ::2] = 3.0
        vector = _vector(source)
        options = {**options, "source": source, "classifier": vector.classifier}
    return gym.make(name, **options)


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("flatten", [True, False])
@pytest.mark.usefixtures("strict", "screen")
def test_gymnasium_finds_no_fault(made_up: MadeUp, name: str, flatten: bool) -> None:
    check_env(_make(made_up, name, render_mode="rgb_array", flatten=flatten).unwrapped)


@pytest.mark.parametrize("name", IDS)
@pytest.mark.usefixtures("strict")
def test_stable_baselines_finds_no_fault(made_up: MadeUp, name: str) -> None:
    env = _make(made_up, name, render_mode="rgb_array").unwrapped
    stable_baselines3.common.env_checker.check_env(env, skip_render_check=False)


@pytest.mark.usefixtures("strict", "screen")
def test_gymnasium_finds_no_fault_with_positions_and_dicts() -> None:
    options = {"action_space": "continuous", "last_action": True, "time_step": True, "render_mode": "rgb_array"}
    env: Any = gym.make(IDS[0], **options).unwrapped
    check_env(env)
    env.reset(seed=0)
    observation, *_ = env.step([0.0, 1.0])
    assert {name: part.shape for name, part in observation.items()} == {
        "features": (9,), "last_action": (2,), "time_step": (1,),
    }  # fmt: skip
    assert observation["last_action"].tolist() == [0, 1]
    # Row 0, column 1: the upper right corner of 24 pixels, enlarged tenfold.
    orange = (env.render() == np.array([255, 176, 0])).all(-1)
    assert orange[0, 160:240].all()
    assert not orange[:, :160].any()
    # Whatever is beyond is clipped.
    observation, *_ = env.step([-3.0, np.inf])
    assert observation["last_action"].tolist() == [0, 1]
    with pytest.raises(UserError, match=r"NaN for a coordinate; expected one of Box"):
        env.step([0.0, np.nan])


def test_gymnasium_s_statistics(made_up: MadeUp) -> None:
    env = RecordEpisodeStatistics(_single(made_up()))
    env.reset()
    rewards = []
    for _ in range(4):
        *_, reward, _, _, info = env.step(3)
        rewards.append(reward)
    assert info["episode"]["l"] == 4
    assert info["episode"]["r"] == pytest.approx(sum(map(float, rewards)))


# ---- pictures ---------------------------------------------------------------------------------------------------


def test_the_picture_is_of_the_frame_that_was_decided_on(made_up: MadeUp) -> None:
    clip = torch.arange(4, dtype=torch.uint8).mul(50)[:, None, None, None].expand(4, 3, 12, 12)
    asked = []

    def frames(video: int) -> torch.Tensor:
        asked.append(video)
        return clip

    env = _single(made_up(), render_mode="rgb_array", frames=frames)
    env.reset(options={"video": 3})
    picture: Any = env.render()
    # 12 pixels are enlarged 19 times; before the first choice there is no box.
    assert picture.shape[1] == 228
    assert not picture[:228].any()
    env.step(0)
    env.step(8)
    picture = env.render()
    assert picture[0, 0].tolist() == [50] * 3
    # The last patch (of 4 pixels) is in the lower right corner: orange at its edge, the frame inside.
    assert picture[227, 227].tolist() == [255, 176, 0]
    assert picture[8 * 19, 8 * 19].tolist() == [255, 176, 0]
    assert picture[8 * 19 - 1, 8 * 19].tolist() == [50] * 3
    assert picture[200, 200].tolist() == [50] * 3
    assert asked == [3]
    env.reset(options={"video": 1})
    picture = env.render()
    assert not picture[:228].any()
    assert asked == [3, 1]


def test_the_picture_tells_the_confidence_in_the_true_class(made_up: MadeUp, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    env = _single(made_up(), render_mode="rgb_array")
    monkeypatch.setattr("adafocus_rl.envs.drawing.draw_step", lambda frame, **facts: told.append(facts))
    env.reset()
    env.render()
    *_, info = env.step(4)
    env.render()
    exp = np.exp(info["logits"].astype(float))
    assert told[0]["confidence"] is None
    assert told[1]["confidence"] == pytest.approx(exp[info["label"]] / exp.sum(), rel=1e-5)
    assert [facts["step"] for facts in told] == [0, 1]
    assert {facts["num_steps"] for facts in told} == {4}


def test_without_frames_it_draws_the_map(made_up: MadeUp) -> None:
    source = made_up()
    env = _single(source, render_mode="rgb_array")
    env.reset(options={"video": 1})
    picture: Any = env.render()
    mean = source.maps[1].mean(1)
    brightest = int(mean[0].argmax())
    cells = picture[:228:19, :228:19, 0][2::4, 2::4]
    assert cells.shape == (3, 3)
    assert int(cells.argmax()) == brightest


def test_a_window_shows_every_step(made_up: MadeUp, screen: list[Any]) -> None:
    env = _single(made_up(), render_mode="human")
    env.reset()
    for step in range(4):
        env.step(step)
    assert env.render() is None
    assert len(screen) == 5
    assert len({picture.tobytes() for picture in screen}) == 5
    env.close()
    env.close()


def test_rendering_needs_a_mode_and_an_episode(made_up: MadeUp) -> None:
    with pytest.raises(gym.error.ResetNeeded):
        _single(made_up(), render_mode="rgb_array").render()
    with pytest.warns(UserWarning, match="render_mode"):
        assert _single(made_up()).render() is None


def test_gymnasium_records_films_of_it(made_up: MadeUp, tmp_path: Path) -> None:
    pytest.importorskip("moviepy", reason="Gymnasium's RecordVideo needs moviepy")
    env = RecordVideo(
        _single(made_up(), render_mode="rgb_array"), str(tmp_path / "films"), episode_trigger=lambda episode: True
    )
    env.reset(options={"video": 1})
    pictures = [env.render()]
    for action in range(4):
        env.step(action)
        pictures.append(env.render())
    env.close()
    (path,) = (tmp_path / "films").glob("*.mp4")
    frames = decode_frames(path, range(5))
    for frame, picture in zip(frames, pictures, strict=True):
        assert np.abs(frame.astype(float) - np.asarray(picture).astype(float)).mean() < 4
