"""The run that comes with the package: what it holds, and the name ``demo:`` in every command."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from PIL import Image

import adafocus_rl
from adafocus_rl.envs import PatchSelectionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare.plan import find_run
from adafocus_rl.experiments.predict import Predictor
from adafocus_rl.experiments.run.folder import existing_folder
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.shipped import CACHE, DEMO, PACKED, demo_clips, demo_folder
from adafocus_rl.record import EpisodeRecord

LIMIT = 3_000_000
"""Bytes that the run may take in a wheel."""


def test_the_package_holds_what_was_packed(tmp_path: Path) -> None:
    told = json.loads((PACKED / "demo.json").read_text())["sha256"]
    found = {
        path.relative_to(PACKED).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in PACKED.rglob("*")
        if path.is_file() and path.name != "demo.json"
    }
    assert found == told
    with zipfile.ZipFile(tmp_path / "demo.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in told:
            archive.write(PACKED / name, name)
    assert (tmp_path / "demo.zip").stat().st_size < LIMIT


def test_predictions_on_its_clips_are_those_that_were_recorded() -> None:
    record = EpisodeRecord.load(demo_folder() / "episodes.safetensors")
    trace = record.last_traces()[0]
    predictor = Predictor.load(DEMO, device="cpu")
    same_boxes, same_class = [], []
    for place, clip in enumerate(demo_clips()):
        found = predictor.predict(clip)
        same_boxes.append(torch.equal(found.boxes, trace.boxes[place]))
        same_class.append(int(found.probabilities.argmax()) == int(trace.predicted[place, -1]))
        if same_boxes[-1]:
            # Recorded on features in half precision.
            assert float(found.probabilities.max()) == pytest.approx(float(trace.confidence[place, -1]), abs=0.01)
    # Another processor may round two nearly equal positions or classes the other way.
    assert len(same_boxes) == len(record) == 40
    assert sum(same_boxes) >= 37
    assert sum(same_class) >= 39
    results = json.loads((demo_folder() / "results.json").read_text())
    own = [row for row in results["rows"] if row["agent"] == trace.name and row["variant"] == trace.variant]
    assert own[0]["top1"] == pytest.approx(float(record.right(trace).float().mean()))
    assert own[0]["top1"] > 0.7
    assert own[0]["videos"] == len(record)


def test_predict_recognises_its_clips_unless_others_are_named(cli: Any) -> None:
    done = cli("predict", DEMO, "--json")
    assert done.code == 0
    clips = demo_clips()
    assert [Path(video["path"]) for video in json.loads(done.out)["videos"]] == clips[:4]
    assert f"the first 4 of the 40 validation clips in {clips[0].parent}" in done.err
    done = cli("predict", DEMO, clips[7], "--knob", "0.005", "--json")
    (video,) = json.loads(done.out)["videos"]
    assert video["path"] == str(clips[7])
    done = cli("predict", clips[7].parents[2])  # by its folder it is a run like any other
    assert (done.code, done.err) == (2, "adafocus: no video is given; name files, folders of videos or of frames, or a "
                                     "webcam by its number\n")  # fmt: skip


def test_replay_writes_into_the_folder_one_stands_in(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("replay", DEMO, "--videos", "2").code == 0
    assert "demo" in (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert cli("replay", DEMO, "--video", "3", "--out", "one.gif", "--fps", "5").code == 0
    with Image.open("one.gif") as film:
        assert (film.format, film.n_frames) == ("GIF", 8)
        assert film.info["duration"] == 200
        pictures = []
        for frame in range(film.n_frames):
            film.seek(frame)
            pictures.append(np.array(film.convert("RGB")))
        assert film.info["duration"] == 1200  # the last picture stays
    assert len({picture.tobytes() for picture in pictures}) == 8
    orange = (np.abs(pictures[0].astype(int) - [255, 176, 0]).sum(-1) < 30).sum()
    assert orange > 200
    assert not (demo_folder() / "report.html").exists()


def test_evaluate_measures_other_agents_on_it(cli: Any) -> None:
    done = cli("evaluate", DEMO, "--agent", "center", "--json")
    assert done.code == 0
    rows = json.loads(done.out)["rows"]
    stored = json.loads((PACKED / "results.json").read_text())["rows"]
    for row in rows:
        (before,) = [one for one in stored if (one["agent"], one["variant"]) == (row["agent"], row["variant"])]
        assert row["top1"] == pytest.approx(before["top1"], abs=0.04)
        assert row["gmacs_per_video"] == pytest.approx(before["gmacs_per_video"])


@pytest.mark.slow
def test_evaluate_measures_it_again_and_leaves_it_as_it_is(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = _content(demo_folder())
    done = cli("evaluate", DEMO, "--json")
    assert done.code == 0, done.err
    assert done.err.endswith("demo: stays as it is, so nothing was written; `adafocus replay demo:` writes its page\n")
    found = json.loads(done.out)
    stored = json.loads((PACKED / "results.json").read_text())
    assert [(row["agent"], row["variant"], row["knob"]) for row in found["rows"]] == [
        (row["agent"], row["variant"], row["knob"]) for row in stored["rows"]
    ]
    assert all(row["ms_per_video"] > 0 for row in found["rows"])
    # Within the rounding of other processors, on 40 clips.
    assert [row["top1"] for row in found["rows"]] == pytest.approx([row["top1"] for row in stored["rows"]], abs=0.04)
    assert _content(demo_folder()) == before
    assert [*tmp_path.iterdir()] == []


def _content(folder: Path) -> dict[str, bytes]:
    """All files of a run except its bank of features, which the first use builds."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0] != "features"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("command", [("evaluate", DEMO), ("features", "build", DEMO)])
def test_its_features_stay_in_its_folder(cli: Any, tmp_path: Path, command: tuple[str, ...]) -> None:
    done = cli(*command, "--features", tmp_path / "store")
    assert done.code == 2
    assert "demo: keeps its features in its own folder" in done.err
    assert not (demo_folder() / "features.json").exists()


def test_compare_finds_it_by_recipe_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_run("moving_digits", DEMO) == find_run(DEMO, None) == existing_folder(DEMO)
    with pytest.raises(UserError, match=r"there is no run of moving_digits in runs/moving_digits to compare on"):
        find_run("moving_digits", None)


def test_a_run_is_branched_from_it_and_trained(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("branch", DEMO, "--out", "runs/mine").code == 0
    done = cli(
        "train", "runs/mine/config.yaml", "--stages", "2", "3", "--agent=CenterAgent", "--out", "runs/mine",
        "--skip.lambdas=[]", "--stage3.epochs=1", "--evaluation.full_frame_epochs=0", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert {row["agent"] for row in json.loads(done.out)["rows"]} >= {"center", "random"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "moving_digits", "--out", DEMO),
        ("branch", DEMO, "--out", DEMO),
        ("import-official", "file.pth.tar", "--out", DEMO),
    ],
)
def test_nothing_is_written_into_it(cli: Any, arguments: tuple[str, ...]) -> None:
    done = cli(*arguments)
    assert done.code == 2
    assert done.err.endswith("demo: is the run that comes with the package, and stays as it is; give a folder of your "
                             "own, such as runs/mine\n")  # fmt: skip


def test_a_copy_is_made_once_and_again_if_parts_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE, str(tmp_path / "own"))
    folder = demo_folder()
    assert folder.parent == tmp_path / "own"
    assert Run.open(DEMO).lists["val"] == folder / "clips" / "val.csv"
    (folder / "command.txt").unlink()
    assert demo_folder() == folder
    assert not (folder / "command.txt").exists()
    (folder / "config.yaml").unlink()
    demo_folder()
    assert (folder / "command.txt").exists()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE, str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"the run demo: is copied into .* before its first use, which failed \(.*\); "
                       "name a folder that can be written in the environment variable ADAFOCUS_CACHE"):  # fmt: skip
        Run.open(DEMO)


@pytest.mark.parametrize("name", adafocus_rl.ENVIRONMENTS)
def test_every_environment_needs_its_id_only(name: str) -> None:
    env = gym.make(name)
    env.reset(seed=0)
    steps, ended = 0, False
    while not ended:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        steps, ended = steps + 1, terminated or truncated
    assert 0 < steps <= 20
    envs: Any = gym.make_vec(name, num_envs=3)
    _, info = envs.reset(seed=0)
    envs.step(torch.as_tensor(envs.action_space.sample()))
    assert len(info["video"]) == 3


def test_the_environment_without_a_run_is_that_of_the_shipped_run() -> None:
    plain: Any = gym.make_vec("AdaFocus/PatchSelection-v0", num_envs=2)
    named: Any = gym.make_vec("AdaFocus/PatchSelection-v0", num_envs=2, run=DEMO)
    assert isinstance(plain, PatchSelectionVectorEnv)
    actions = torch.tensor([3, 9])
    assert torch.equal(plain.reset(seed=4)[0], named.reset(seed=4)[0])
    assert torch.equal(plain.step(actions)[1], named.step(actions)[1])
    assert len(plain.source.videos) == 64
    skipping: Any = gym.make_vec("AdaFocus/FrameSkipping-v0", num_envs=2)
    assert skipping.lambda_ == 0.005
