"""Runs that share a store of features."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import yaml

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.forecast.forecast import _unbuilt
from adafocus_rl.experiments.run.features import open_bank
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.handover import load_recognizer
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.features import DEFAULT_TABLES, TableSpec

Cli = Any
Look = Any

TABLES = ("clips", "full", "global_map", "global_vector", "local", "thumbnail")


@pytest.fixture
def two_runs(run: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The same run twice, without features."""
    shutil.rmtree(run / "features")
    return run, Path(shutil.copytree(run, tmp_path / "second"))


def _mtimes(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_runs_share_a_store(
    cli: Cli, two_runs: tuple[Path, Path], tmp_path: Path, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two_runs
    expected = look.results(first)
    monkeypatch.chdir(tmp_path)
    done = cli("features", "build", first, "--features", "store")
    assert done.code == 0, done.err
    store = tmp_path / "store"
    assert f"{store}: complete, 12 videos of train, fits the run" in done.err
    assert not (first / "features").exists()
    # One folder for each table of either list.
    assert sorted(path.name.split("-")[0] for path in store.iterdir()) == sorted(2 * TABLES)
    before = _mtimes(store)
    done = cli("evaluate", second, "--features", store)
    assert done.code == 0, done.err
    assert _mtimes(store) == before
    found = look.results(second)
    assert {**found, "seconds": None} == {**expected, "seconds": None}
    # Both remember where their features lie, wherever they are.
    moved = first.rename(tmp_path / "moved")
    monkeypatch.chdir(moved)
    assert cli("features", "check", moved).code == 0
    assert cli("evaluate", moved).code == 0
    env = gym.make("adafocus_rl:AdaFocus/PatchSelection-v0", run=str(moved))
    env.reset(seed=0)
    assert not (moved / "features").exists()
    assert _mtimes(store) == before


def test_a_run_is_trained_on_a_shared_store(cli: Cli, recipe: Path, run: Path, tmp_path: Path, look: Look) -> None:
    store, other = tmp_path / "store", tmp_path / "other"
    done = cli("train", recipe, "--out", other, "--features", store)
    assert done.code == 0, done.err
    assert look.checkpoints(other) == look.checkpoints(run)
    before = _mtimes(store)
    # Discarding a run discards nothing that others may use.
    assert cli("train", recipe, "--out", other, "--stages", "1", "2", "--stage1.epochs=2").code == 0
    assert {name: time for name, time in _mtimes(store).items() if name in before} == before
    assert not (other / "features").exists()
    assert cli("train", recipe, "--out", other, "--overwrite", "--stages", "0").code == 0
    assert not (other / "features.json").exists()
    assert {name: time for name, time in _mtimes(store).items() if name in before} == before


def test_a_flipped_bit_in_any_table_is_found(cli: Cli, run: Path, tmp_path: Path) -> None:
    assert cli("features", "build", run, "--features", tmp_path / "store").code == 0
    for folder in (run / "features" / "train", tmp_path / "store"):
        given = ["--features", folder] if folder.name == "store" else []
        if not given:
            (run / "features.json").unlink()
        for path in sorted(folder.glob("*/shard_00001/*.npy")):
            whole = path.read_bytes()
            path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 4]))
            done = cli("features", "check", run, *given)
            assert done.code == 2
            assert f"{path} is damaged" in done.err  # which names table and shard
            path.write_bytes(whole)
        assert cli("features", "check", run, *given).code == 0


def test_a_flipped_bit_in_a_table_that_nobody_opens_is_found(cli: Cli, run: Path) -> None:
    color = TableSpec(name="color", fill=lambda chunk: chunk.frames.mean((2, 3)))
    opened = Run.open(run)
    open_bank(opened, load_recognizer(opened, "stage1"), "val", tables=(*DEFAULT_TABLES, color))
    assert cli("features", "check", run).code == 0
    path = run / "features" / "val" / "color" / "shard_00000" / "color.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 4]))
    done = cli("features", "check", run)
    assert done.code == 2
    assert f"{path} is damaged" in done.err


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"store": 3, "index": {}}', '{"store": "\\u0000", "index": {}}'])
def test_a_damaged_note_of_the_store_is_a_sentence(cli: Cli, run: Path, tmp_path: Path, text: str) -> None:
    (run / "features.json").write_text(text)
    done = cli("features", "check", run)
    assert done.code == 2
    assert str(run / "features.json") in done.err
    if not text:
        # A store that is given is remembered instead.
        assert cli("features", "build", run, "--features", tmp_path / "store").code == 0
        assert json.loads((run / "features.json").read_text())["store"] == str(tmp_path / "store")


def test_a_store_that_has_gone_is_named(cli: Cli, run: Path, tmp_path: Path) -> None:
    assert cli("features", "build", run, "--features", tmp_path / "store").code == 0
    shutil.rmtree(tmp_path / "store")
    done = cli("features", "check", run)
    assert done.code == 2
    assert f"no feature bank in {tmp_path / 'store'}" in done.err


def test_a_variant_with_another_grid_shares_its_run_s_store(cli: Cli, run: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert cli("features", "build", run, "--features", store).code == 0
    before = _mtimes(store)
    path = tmp_path / "sizes.yaml"
    variants = [
        {"name": "as it is", "overrides": {"agent": "CenterAgent"}},
        {"name": "grid of 2", "overrides": {"agent": "CenterAgent", "model.grid": 2}},
    ]
    path.write_text(yaml.safe_dump(variants))
    done = cli("compare", run, "--ablation", path, "--seeds", "1", "--jobs", "1")
    assert done.code == 0, done.err
    content = json.loads((run / "compare" / "sizes" / "compare.json").read_text())
    assert {entry["bank"] for entry in content["settings"].values()} == {str(store)}
    added = {Path(name).relative_to(store).parts[0].split("-")[0] for name in {*_mtimes(store)} - {*before}}
    assert added == {"local"}


def test_folds_of_one_table_encode_each_video_once(
    cli: Cli, recipe: Path, videos: Path, tmp_path: Path, look: Look
) -> None:
    """With frozen encoders, as docs/own_videos.md says."""
    shutil.rmtree(videos / "stills")
    paths = sorted(videos.rglob("*.mp4"))
    rows = [f"{path.relative_to(videos)},{number % 2},{number % 3}" for number, path in enumerate(paths)]
    (videos / "table.csv").write_text("\n".join(["path,label,fold", *rows]) + "\n")
    frozen = ["--stage0.epochs=0", "--stage1.focus_learning_rate=0"]
    store = tmp_path / "store"
    said, unbuilt = [], []
    for fold in ("0", "1"):
        done = cli("data", "index", videos / "table.csv", "--fold", fold, "--out", tmp_path / fold)
        assert done.code == 0, done.err
        options, run = [*look.own_videos(tmp_path / fold), *frozen], tmp_path / f"run{fold}"
        done = cli("train", recipe, *options, "--stages", "0", "1", "--out", run, "--features", store)
        assert done.code == 0, done.err
        # The forecast knows before stage I is trained.
        new = Run(RunFolder(tmp_path / "new"), Run.open(run).config, resume=False)
        unbuilt.append(_unbuilt(new, [0, 1, 2], str(store), load_recognizer(Run.open(run), "stage1"), "train"))
        done = cli("features", "build", run)
        assert done.code == 0, done.err
        said.append(done.err)
    assert "copied" not in said[0]
    for copied in ("bank train: the features of 12 videos", "bank val: the features of 6 videos"):
        assert f"{copied} were copied from tables of other lists in {store}" in said[1]
    assert unbuilt == [12, 0]


def test_features_of_other_videos_of_the_same_names_are_refused(
    cli: Cli, two_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = two_runs
    store, copy = tmp_path / "store", tmp_path / "copy"
    assert cli("features", "build", first, "--features", store).code == 0
    # The second run reads a copy of the videos.
    config = yaml.safe_load((second / "config.yaml").read_text())
    shutil.copytree(config["data"]["root"], copy)
    (second / "config.yaml").write_text(yaml.safe_dump({**config, "data": {**config["data"], "root": str(copy)}}))
    done = cli("features", "check", second, "--features", store)
    assert done.code == 0, done.err
    path = sorted((copy / "val").iterdir())[-1]
    path.write_bytes(path.read_bytes() + b"\0")
    for command in (["check", second], ["push", second, f"file://{tmp_path / 'there'}"]):
        done = cli("features", *command, "--features", store)
        assert done.code == 2
        assert f"were computed from other files: val/{path.name} in " in done.err
    with pytest.raises(UserError, match="other files"):
        _unbuilt(Run.open(second), (2,), str(store), load_recognizer(Run.open(second), "stage1"), "val")
    assert cli("features", "check", first).code == 0
