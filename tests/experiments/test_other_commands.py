"""features, data, list, and evaluate on a run that moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from adafocus_rl import checkpoint
from adafocus_rl.models import ENCODERS

Cli = Any
Look = Any


def test_features_are_built_and_checked(cli: Cli, run: Path) -> None:
    shutil.rmtree(run / "features")
    done = cli("features", "check", run)
    assert done.code == 2
    assert "no feature bank" in done.err
    assert cli("features", "build", run).code == 0
    done = cli("features", "check", run)
    assert done.code == 0
    assert f"{run / 'features' / 'train'}: complete, 12 videos" in done.err
    assert f"{run / 'features' / 'val'}: complete, 6 videos" in done.err


def test_data_are_made(cli: Cli, tmp_path: Path) -> None:
    options = ["--train_videos=3", "--val_videos=2", "--still_videos=0", "--frames=2", "--side=32", "--digit=10"]
    done = cli("data", "make", "moving_digits", tmp_path / "digits", *options)
    assert done.code == 0, done.err
    assert f"train: {tmp_path / 'digits' / 'train.csv'}" in done.err
    assert len(list((tmp_path / "digits" / "train").iterdir())) == 3
    assert cli("data", "make", "moving_digits", tmp_path / "digits", *options).code == 0
    done = cli("data", "make", "moving_digits", tmp_path / "digits", *options, "--seed=1")
    assert done.code == 2
    assert "seed is 0 there and 1 here" in done.err


def test_names_that_can_be_used(cli: Cli) -> None:
    found = json.loads(cli("list", "--json").out)
    assert set(found) == {"recipes", "agents", "methods", "encoders", "datasets", "rewards"}
    assert "PPOAgent" in found["agents"]
    lines = cli("list").out.splitlines()
    assert lines == [f"{kind}: {' '.join(names)}" for kind, names in found.items()]


def test_a_run_that_was_moved_is_evaluated_from_anywhere(
    cli: Cli, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: Look
) -> None:
    expected = look.results(run)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = run.rename(tmp_path / "moved")
    monkeypatch.chdir(elsewhere)
    (moved / "checkpoints" / "full_frame.safetensors").unlink()
    assert cli("evaluate", "../moved").code == 0
    found = look.results(moved)
    assert {**found, "seconds": None} == {**expected, "seconds": None}
    assert list(elsewhere.iterdir()) == []


def test_nothing_timed_and_nothing_drawn(cli: Cli, recipe: Path, run: Path) -> None:
    options = ["--evaluation.timed_videos=0", "--evaluation.sheet_videos=0"]
    done = cli("train", recipe, "--out", run, "--stages", "3", *options)
    assert done.code == 0, done.err
    assert not (run / "patches.png").exists()
    # Valid JSON: NaN would not be.
    rows = json.loads((run / "results.json").read_text(), parse_constant=pytest.fail)["rows"]
    assert {row["ms_per_video"] for row in rows} == {None}
    assert "–" in done.out


def test_the_agents_to_compare_with_are_named(cli: Cli, recipe: Path, run: Path) -> None:
    options = ["--evaluation.timed_videos=0", "--evaluation.references=[RandomAgent, BestPatchAgent]"]
    done = cli("train", recipe, "--out", run, "--stages", "3", *options)
    assert done.code == 0, done.err
    rows = json.loads((run / "results.json").read_text())["rows"]
    assert [row["agent"] for row in rows if row["variant"] == "fine-tuned"] == ["ppo", "random", "best_patch"]
    assert [row["reference"] for row in rows if row["variant"] == "fine-tuned"] == [False, False, True]
    assert "±" in done.out
    done = cli("train", recipe, "--out", run, "--stages", "3", "--evaluation.references=[PPOAgent]")
    assert done.code == 2
    assert "evaluation.references is ['PPOAgent']; give agents that need no training, without PPOAgent" in done.err
    done = cli("train", recipe, "--out", run, "--stages", "3", "--evaluation.references=[BestPatch]")
    assert done.code == 2
    assert "BestPatchAgent" in done.err


def test_weights_files_are_needed_for_stage_0_only(
    cli: Cli, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: Look
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    weights = ENCODERS.get("small_glance")().state_dict()
    save_file({name: value.contiguous() for name, value in weights.items()}, "my.safetensors")
    options = ["--out", "run", "--model.glance.weights=my.safetensors", "--stage0.epochs=0", "--stage0.stills.epochs=0"]
    assert cli("train", recipe, *options).code == 0
    started = checkpoint.load("run/checkpoints/stage0.safetensors")[0]
    given = load_file("my.safetensors")
    assert all(torch.equal(started[f"recognizer.glance.{name}"], value) for name, value in given.items())
    results = look.results(Path("run"))
    Path("my.safetensors").unlink()
    assert cli("evaluate", "run").code == 0
    assert cli("train", recipe, *options, "--stages", "2", "3").code == 0
    assert look.results(Path("run"))["rows"] == results["rows"]
    done = cli("train", recipe, *options, "--overwrite")
    assert done.code == 2
    assert "my.safetensors does not exist" in done.err
