"""What the labels of a run mean, from its lists to its predictions, and when a list changes afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.predict import Predictor
from adafocus_rl.record import EpisodeRecord

Cli = Any
Look = Any

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def named_lists(videos: Path, *, without: str = "") -> None:
    """Lists ``path;name`` in place of the CSV files; the validation list lacks a class."""
    for split in ("train", "val"):
        rows = [line.split(",")[:2] for line in (videos / f"{split}.csv").read_text().splitlines()[1:]]
        named = [(path, NAMES[int(label)]) for path, label in rows]
        lines = [f"{path};{name}\n" for path, name in named if split == "train" or name != without]
        (videos / f"{split}.txt").write_text("".join(lines))
    for path in [*videos.glob("*.csv"), videos / "classes.txt"]:
        path.unlink()


def own_lists(videos: Path) -> list[str]:
    return [
        "--data.embedded=null", "--data.root=null", f"--data.train_list={videos / 'train.txt'}",
        f"--data.val_list={videos / 'val.txt'}", "--stage0.stills.epochs=0",
    ]  # fmt: skip


def test_one_order_from_the_lists_to_a_prediction(cli: Cli, recipe: Path, videos: Path, tmp_path: Path) -> None:
    first = min(line.split(",")[1] for line in (videos / "val.csv").read_text().splitlines()[1:])
    named_lists(videos, without=NAMES[int(first)])
    run = tmp_path / "run"
    done = cli("train", recipe, "--out", run, *own_lists(videos))
    assert done.code == 0, done.err
    names = sorted({line.split(";")[1] for line in (videos / "train.txt").read_text().splitlines()})
    record = EpisodeRecord.load(run / "episodes.safetensors")
    assert record.class_names == names
    said = dict(line.split(";") for line in (videos / "val.txt").read_text().splitlines())
    labels = record.multi_hot.int().argmax(1).tolist()
    assert [names[label] for label in labels] == [said[path] for path in record.paths]

    # The run keeps its names, wherever it is and whatever becomes of its lists.
    moved = Path(shutil.copytree(run, tmp_path / "elsewhere"))
    (moved / "episodes.safetensors").unlink()
    (videos / "train.txt").write_text((videos / "train.txt").read_text().replace(f";{names[0]}\n", ";zzz\n"))
    assert Predictor.load(moved).names == names
    for command in (["evaluate", run], ["features", "check", run], ["compare", run, "--agents", "RandomAgent"]):
        done = cli(*command)
        assert done.code == 2, done.err
        sentence = done.err.rstrip("\n").split("\n")[-1]
        assert f"class 0 is {names[0]!r} in {run / 'checkpoints' / 'stage1.safetensors'}" in sentence
        assert str(videos / "train.txt") in sentence
    with pytest.raises(UserError, match="the classes are not those"):
        gymnasium.make("adafocus_rl:AdaFocus/PatchSelection-v0", run=run)


def test_numbers_whose_names_changed_places(cli: Cli, recipe: Path, videos: Path, tmp_path: Path, look: Look) -> None:
    run = tmp_path / "run"
    done = cli("train", recipe, "--out", run, "--stages", "0", "1", *look.own_videos(videos))
    assert done.code == 0, done.err
    (videos / "classes.txt").write_text("".join(f"{name}\n" for name in ["1", "0", *"23456789"]))
    done = cli("features", "build", run)
    assert done.code == 2
    assert "class 0 is '0'" in done.err
    assert "'1'" in done.err
    (videos / "classes.txt").unlink()  # numbers without names contradict nothing
    assert cli("features", "build", run).code == 0


def test_two_folders_with_other_names(cli: Cli, recipe: Path, videos: Path, tmp_path: Path, look: Look) -> None:
    other = Path(shutil.copytree(videos, tmp_path / "other"))
    (other / "classes.txt").write_text("".join(f"{name}\n" for name in reversed("0123456789")))
    lists = [f"--data.train_list={videos / 'train.csv'}", f"--data.val_list={other / 'val.csv'}"]
    done = cli("train", recipe, "--out", tmp_path / "run", *look.own_videos(videos), *lists)
    assert (done.code, done.err.count("\n")) == (2, 1)
    for words in (str(videos / "train.csv"), str(other / "val.csv"), "class 0 is '0' in", "data.classes"):
        assert words in done.err
    assert not (tmp_path / "run").exists()
    check = ["data", "check", videos / "train.csv", "--val", other / "val.csv", "--recipe", recipe, "--videos", "0"]
    done = cli(*check, "--json")
    assert done.code == 1
    assert "class 0 is '0' in" in {one["kind"]: one["text"] for one in json.loads(done.out)["faults"]}["other_classes"]
    done = cli(*check, "--json", "--classes", videos / "classes.txt")
    assert "other_classes" not in {one["kind"] for one in json.loads(done.out)["faults"]}


def test_the_check_counts_classes_as_training_does(cli: Cli, videos: Path, recipe: Path) -> None:
    named_lists(videos)
    lists = [videos / "train.txt", "--val", videos / "val.txt"]
    done = cli("data", "check", *lists, "--recipe", recipe, "--videos", "0", "--json")
    found = json.loads(done.out)
    names = sorted({line.split(";")[1] for line in (videos / "train.txt").read_text().splitlines()})
    counts = [line.split(";")[1] for line in (videos / "val.txt").read_text().splitlines()]
    assert found["lists"]["val"]["class_counts"] == [counts.count(name) for name in names]


def test_flops_count_classes_in_any_list(cli: Cli, videos: Path, recipe: Path) -> None:
    named_lists(videos)
    done = cli("flops", recipe, *own_lists(videos), "--json")
    assert done.code == 0, done.err
