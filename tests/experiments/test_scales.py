"""Runs with patches of several scales: trained, evaluated, predicted, shown and selected as a user does it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3.common.env_checker
import torch
import yaml
from gymnasium.utils.env_checker import check_env
from PIL import Image

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare.variants import identity_of
from adafocus_rl.experiments.config.parser import parse_settings
from adafocus_rl.experiments.export.cells import cells_of
from adafocus_rl.experiments.predict import Predictor
from adafocus_rl.experiments.report.loader_sheet import write_loader_sheet
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.official import write_run
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.steps import RANDOM_PATCHES, first_affected
from adafocus_rl.experiments.training.stage1 import random_origins, random_scales
from adafocus_rl.flops import encoder_macs
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.models.encoders import create_encoder
from adafocus_rl.models.official import OfficialCheckpoint
from adafocus_rl.record import EpisodeRecord

Cli = Callable[..., Any]
SCALES = "--model.patch_scales=[0.75,1.0,1.5]"
"""Of patches of 16 pixels in frames of 32."""
SIDES = {12, 16, 24}
GRID = PatchGrid(grid=3, frame_size=32, patch_size=16, scales=(0.75, 1.0, 1.5))
ID = "adafocus_rl:AdaFocus/PatchSelection-v0"


@pytest.fixture(scope="module")
def scaled(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all stages, made by the program as a user calls it; not to be written to."""
    run = tmp_path_factory.mktemp("scaled") / "run"
    command = [sys.executable, "-m", "adafocus_rl", "train", str(recipe), "--out", str(run), SCALES, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"][0]["agent"] == "ppo"
    return run


@pytest.fixture(scope="module")
def video(recipe: Path) -> Path:
    """The first validation video."""
    return Path(yaml.safe_load(recipe.read_text())["data"]["root"]) / "val" / "00000.mp4"


def test_the_bank_has_a_row_for_each_scale_and_position(scaled: Path) -> None:
    assert yaml.safe_load((scaled / "config.yaml").read_text())["model"]["patch_scales"] == [0.75, 1.0, 1.5]
    for split in ("train", "val"):
        manifest = json.loads((scaled / "features" / split / "local" / "manifest.json").read_text())
        assert (manifest["patch_scales"], manifest["shape"]) == ([0.75, 1.0, 1.5], [27, 128])


def test_the_cost_is_that_of_patches_of_p_pixels(scaled: Path) -> None:
    focus = create_encoder("small_focus", weights="none", option="model.focus.weights")
    rows = json.loads((scaled / "results.json").read_text())["rows"]
    assert {row["local_gmacs_per_video"] for row in rows if row["agent"] != "full_frame"} == {
        4 * encoder_macs(focus, 16) / 1e9
    }


def test_the_record_and_the_pages_show_true_sizes(scaled: Path) -> None:
    record = EpisodeRecord.load(scaled / "episodes.safetensors")
    traces = {trace.name: trace for trace in record.traces}
    every = {tuple(box) for box in GRID.action_box(torch.arange(27)).tolist()}
    for name in ("ppo", "random", "oracle", "center", "gaussian"):
        assert {tuple(box) for box in traces[name].boxes.flatten(0, 1).tolist()} <= every
    assert {*traces["random"].boxes[..., 2].flatten().tolist()} == SIDES
    assert {*traces["center"].boxes[..., 2].flatten().tolist()} == {16}
    # Digits of 12 pixels that move: their boxes have 12 pixels, or fewer at an edge.
    assert {*traces["oracle"].boxes[..., 2].flatten().tolist()} <= {12, 16}
    ppo = traces["ppo"]
    assert ppo.probabilities is not None
    assert ppo.probabilities.shape == (6, 4, 27)
    assert (ppo.patch_size, ppo.patch_scales) == (16, (0.75, 1.0, 1.5))
    page = (scaled / "report.html").read_text()
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found
    data = json.loads(found[1])
    assert len(data["agents"][0]["cells"]) == 27
    shown = [box[2] for one in data["videos"] for panel in one["panels"] for box in panel["boxes"]]
    assert {*shown} >= SIDES


def test_evaluation_repeats_the_results(scaled: Path, cli: Cli) -> None:
    done = cli("evaluate", scaled, "--agent", "OracleAgent", "--json")
    assert done.code == 0, done.err
    before = json.loads((scaled / "results.json").read_text())["rows"]
    same = [[(row["top1"], row["map"]) for row in rows if row["agent"] == "oracle"]
            for rows in (json.loads(done.out)["rows"], before)]  # fmt: skip
    assert same[0] == same[1]
    assert len(same[0]) == 2


def test_a_prediction_from_the_file_is_that_of_the_bank(scaled: Path, video: Path, cli: Cli, tmp_path: Path) -> None:
    """Evaluation reads the bank, and prediction decodes and crops."""
    record = EpisodeRecord.load(scaled / "episodes.safetensors")
    for name, agent in (("random", "RandomAgent"), ("center", "CenterAgent")):
        trace = next(one for one in reversed(record.traces) if one.name == name)
        done = cli("predict", scaled, video, "--agent", agent, "--json", "--out", tmp_path / f"{name}.png")
        (found,) = json.loads(done.out)["videos"]
        assert found["boxes"] == trace.boxes[0].tolist()
        assert found["top"][0]["confidence"] == pytest.approx(float(trace.confidence[0, -1]), abs=2e-3)
        assert (tmp_path / f"{name}.png").stat().st_size > 0
    text = cli("predict", scaled, video, "--agent", "RandomAgent").out.replace("\n", " ")
    first = record.traces[1].boxes[0, 0].tolist()
    assert f"patches by frame, (top, left, height, width): 1: ({first[0]}, {first[1]}, {first[2]}, {first[3]})" in text
    assert "patches of 16×16 pixels, by frame, (top, left): 1: (8, 8)" in cli(
        "predict", scaled, video, "--agent", "CenterAgent"
    ).out.replace("\n", " ")


def test_online_recognition_knows_the_sizes(scaled: Path, video: Path, cli: Cli) -> None:
    done = cli("predict", scaled, video, "--agent", "RandomAgent", "--online", "--json")
    frames = [json.loads(line) for line in done.out.splitlines()]
    every = {tuple(box) for box in GRID.action_box(torch.arange(27)).tolist()}
    assert {tuple(frame["box"]) for frame in frames} <= every
    assert {frame["box"][2] for frame in frames} == SIDES
    assert {frame["side"] for frame in frames} == {16}


def test_selected_boxes_and_crops_have_their_size(scaled: Path, video: Path, cli: Cli, tmp_path: Path) -> None:
    crops, out = tmp_path / "crops", tmp_path / "selected.json"
    done = cli("select", scaled, video, "--agent", "RandomAgent", "--out", out, "--crops", crops)
    assert done.code == 0, done.err
    (one,) = json.loads(out.read_text())["videos"]
    assert len({frame["box"][2] for frame in one["frames"]}) > 1
    for frame in one["frames"]:
        with Image.open(crops / frame["crop"]) as crop:
            assert crop.size == (frame["box"][3], frame["box"][2])
    done = cli("select", scaled, video, "--out", out)
    probabilities = [frame["probability"] for frame in json.loads(out.read_text())["videos"][0]["frames"]]
    assert all(1 / 27 < value < 1 for value in probabilities)


def test_replay_draws_films_and_pictures(scaled: Path, cli: Cli, tmp_path: Path) -> None:
    for out in ("all.html", "one.png"):
        done = cli("replay", scaled, "--out", tmp_path / out)
        assert done.code == 0, done.err
        assert (tmp_path / out).stat().st_size > 1000


def test_the_environment_on_the_bank_is_that_of_the_encoders(scaled: Path) -> None:
    actions = torch.randint(27, (4, 5), generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"run": str(scaled), "split": "val", "num_envs": 5, "shuffle": False, "last_action": True}
    found = []
    for features in ("bank", "live"):
        env: Any = gym.make_vec(ID, features=features, **options)
        observation, _ = env.reset(seed=0)
        seen, rewards = [observation["last_action"]], []
        for action in actions:
            observation, reward, _, _, info = env.step(action)
            seen.append(observation["last_action"])
            rewards.append(reward)
        found.append((torch.stack(seen), torch.stack(rewards), info["final_info"]["logits"]))
    for bank, live in zip(*found, strict=True):
        torch.testing.assert_close(bank, live, rtol=2e-3, atol=2e-3)
    assert found[0][0].shape == (5, 5, 3)


@pytest.mark.parametrize("features", ["bank", "live"])
def test_both_checkers_find_no_fault(scaled: Path, features: str) -> None:
    env = gym.make(ID, run=str(scaled), features=features).unwrapped
    assert env.action_space == gym.spaces.Discrete(27)
    check_env(env, skip_render_check=True)
    stable_baselines3.common.env_checker.check_env(env)


def test_positions_without_a_size_are_refused(scaled: Path, recipe: Path, tmp_path: Path, cli: Cli) -> None:
    with pytest.raises(UserError, match=r"a position without a size, but model\.patch_scales is \[0\.75, 1\.0, 1\.5\]"):
        gym.make(ID, run=str(scaled), features="live", action_space="continuous")
    live = ["--stage2.features=live", "--stage3.features=live"]
    done = cli("train", recipe, "--out", tmp_path / "run", SCALES, "--env.action_space=continuous", *live)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "give env.action_space=grid, or one scale" in done.err
    assert not (tmp_path / "run").exists()


def test_a_run_does_not_mix_scales(scaled: Path, recipe: Path, cli: Cli) -> None:
    done = cli("train", recipe, "--out", scaled, "--model.patch_scales=[1.0, 1.5]", "--stages", "2", "3")
    assert done.code == 2
    assert "model.patch_scales [0.75, 1.0, 1.5], now it is [1.0, 1.5]" in " ".join(done.err.split())


def test_a_comparison_trains_stage_i_again_and_finds_earlier_results(recipe: Path) -> None:
    assert first_affected(["model.patch_scales"]) is RANDOM_PATCHES
    values = parse_settings("adafocus", ["--config", str(recipe)]).values
    keys = [key for key, _ in identity_of(values, ["model"])]
    assert "model.patch_size" in keys
    assert "model.patch_scales" not in keys
    other = parse_settings("adafocus", ["--config", str(recipe), SCALES]).values
    assert ("model.patch_scales", [0.75, 1.0, 1.5]) in identity_of(other, ["model"])


def test_stage_one_crops_each_scale_equally_often_at_any_pixel() -> None:
    rows = torch.arange(600)
    scale = random_scales(GRID, rows, 5, seed=3)
    assert scale is not None
    counts = scale.flatten().bincount(minlength=3)
    # Chi-square with 2 degrees of freedom exceeds 13.8 once in a thousand.
    assert ((counts - 1000.0) ** 2 / 1000).sum() < 13.8
    origin = random_origins(GRID, rows, 5, seed=3, scale=scale)
    for number, one in enumerate(GRID.each):
        own = origin[scale == number]
        assert (int(own.min()), int(own.max())) == (0, one.last_offset)
    for part, whole in ((random_scales(GRID, rows[7:9], 5, seed=3), scale[7:9]),):
        assert part is not None
        assert torch.equal(part, whole)
    assert random_scales(GRID.each[1], rows, 5, seed=3) is None


def test_the_picture_of_the_loader_shows_resized_patches(scaled: Path, tmp_path: Path) -> None:
    run = Run.open(scaled)
    index = run.clips.val.index
    path = tmp_path / "loader.png"
    assert write_loader_sheet(index, run.config, path, videos=2, num_classes=10) == 2
    with Image.open(path) as picture:
        assert np.asarray(picture).std() > 0


def test_an_export_is_refused(scaled: Path) -> None:
    with pytest.raises(UserError, match=r"model\.patch_scales is \[0\.75, 1\.0, 1\.5\], which cannot be exported"):
        cells_of(Predictor.load(scaled).method)


def test_public_checkpoints_have_patches_of_one_size(recipe: Path, tmp_path: Path) -> None:
    settings = parse_settings("adafocus", ["--config", str(recipe), SCALES])
    found = OfficialCheckpoint(path=tmp_path / "a.pth.tar", family="adafocus", options={}, recognizer={})
    with pytest.raises(UserError, match=r"model\.patch_scales is \[0\.75, .* patches of one size; leave it out"):
        write_run(RunFolder(tmp_path / "run"), found, settings, stage=1)
