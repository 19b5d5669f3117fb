"""Made-up datasets in the layout of each official one: found, checked, trained on in all stages, evaluated."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import average_precision_score

from adafocus_rl.data.encode import write_video
from adafocus_rl.experiments.evaluation import measure

Cli = Any

VIDEOS = 4
"""Videos of each split."""

RECIPE: dict[str, Any] = {
    "name": "layout",
    "data": {"num_frames": 2, "workers": 0},
    "model": {
        "glance": {"name": "small_glance"}, "focus": {"name": "small_focus"}, "classifier": {"hidden": 8},
        "frame_size": 32, "glance_size": 16, "patch_size": 16, "grid": 2, "num_classes": 0,
    },
    "stage0": {"epochs": 1}, "stage1": {"epochs": 1}, "stage2": {"epochs": 1}, "stage3": {"epochs": 1},
    "evaluation": {"repeats": 1, "timed_videos": 0, "full_frame_epochs": 1, "sheet_videos": 0},
    "agent": {"class_path": "PPOAgent", "init_args": {"hidden": 8, "reduced_channels": 2}},
}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """Where a made-up dataset lies."""

    train: Path
    val: Path
    root: Path
    classes: tuple[str, ...]
    options: tuple[str, ...] = ()


def pixels(seed: int) -> NDArray[np.uint8]:
    """(T, H, W, 3) of 4 frames, another for each seed."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)
    return blocks.repeat(6, axis=1).repeat(6, axis=2)


def as_video(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, pixels(seed))


def as_folder(path: Path, seed: int, template: str) -> None:
    path.mkdir(parents=True)
    for number, frame in enumerate(pixels(seed), start=1):
        Image.fromarray(frame).save(path / template.format(number), quality=95)


def write(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def activitynet(root: Path) -> Layout:
    """Frame folders, a label per segment, numbered names of classes."""
    lists = {}
    for split, first in (("train", 0), ("val", 50)):
        lines = []
        for i in range(VIDEOS):
            as_folder(root / "frames" / f"id-{first + i}_x", first + i, "image_{:05d}.jpg")
            lines.append(f"id-{first + i}_x,4,{i % 2},{i % 2}")
        lists[split] = write(root / f"actnet_{split}_split.txt", lines)
    write(root / "classInd.txt", ["0,Applying sunscreen", "1,Archery"])
    return Layout(lists["train"], lists["val"], root / "frames", ("Applying sunscreen", "Archery"))


def activitynet_raw(root: Path) -> Layout:
    """Video files with v_ before the id, and one JSON for both splits."""
    database = {}
    for subset, first in (("training", 0), ("validation", 50)):
        for i in range(VIDEOS):
            as_video(root / "videos" / f"v_id-{first + i}.mp4", first + i)
            labels = (["Zumba", "Archery", "Zumba"], ["Archery"])[i % 2]
            annotations = [{"label": label, "segment": [0, 1]} for label in labels]
            database[f"id-{first + i}"] = {"subset": subset, "annotations": annotations}
    database["unlabelled"] = {"subset": "testing", "annotations": []}
    path = root / "activity_net.v1-3.min.json"
    path.write_text(json.dumps({"version": "VERSION 1.3", "database": database}))
    return Layout(path, path, root / "videos", ("Archery", "Zumba"))


def fcvid(root: Path) -> Layout:
    """Video files, several labels."""
    lists = {}
    for split, first in (("train", 0), ("val", 50)):
        lines = []
        for i in range(VIDEOS):
            as_video(root / "videos" / f"--{first + i}.mp4", first + i)
            lines.append(f"--{first + i},4,{i % 3},{(i + 1) % 3}" if i else f"--{first},4,2")
        lists[split] = write(root / f"fcvid_{split}_split.txt", lines)
    return Layout(lists["train"], lists["val"], root / "videos", ("0", "1", "2"))


def mini_kinetics(root: Path) -> Layout:
    """Frame folders in folders of classes with spaces in their names."""
    lists = {}
    for split, first in (("train", 0), ("val", 50)):
        lines = []
        for i in range(VIDEOS):
            name = f"{('air drumming', 'yoga')[i % 2]}/id{first + i} 00{i}"
            as_folder(root / "frames" / name, first + i, "img_{:05d}.jpg")
            lines.append(f"{name} 4 {i % 2}")
        lists[split] = write(root / f"mini_{split}_videofolder.txt", lines)
    write(root / "classes.txt", ["air drumming", "yoga"])
    return Layout(lists["train"], lists["val"], root / "frames", ("air drumming", "yoga"))


def something_v1(root: Path) -> Layout:
    """Frame folders of numbers, and category.txt."""
    lists = {}
    for split, first in (("train", 100), ("val", 150)):
        lines = []
        for i in range(VIDEOS):
            as_folder(root / "20bn" / f"{first + i}", first + i, "{:05d}.jpg")
            lines.append(f"{first + i} 4 {i % 2}")
        lists[split] = write(root / f"{split}_videofolder.txt", lines)
    write(root / "category.txt", ["Closing something", "Opening something"])
    flip = ("--data.flip=false", "--data.frame_template={:05d}.jpg")
    return Layout(lists["train"], lists["val"], root / "20bn", ("Closing something", "Opening something"), flip)


def something_v2(root: Path) -> Layout:
    """Video files of numbers, templates with brackets, and labels.json in an order of its own."""
    lists = {}
    for split, first in (("train", 100), ("validation", 150)):
        entries = []
        for i in range(VIDEOS):
            # H.264 in a file that is called .webm: what is inside does not matter to the loader.
            as_video(root / "20bn" / f"{first + i}.mp4", first + i)
            (root / "20bn" / f"{first + i}.mp4").rename(root / "20bn" / f"{first + i}.webm")
            template = ("Opening [something]", "Closing [something]")[i % 2]
            entries.append({"id": str(first + i), "label": "opening a door", "template": template})
        lists[split] = root / f"something-something-v2-{split}.json"
        lists[split].write_text(json.dumps(entries))
    (root / "something-something-v2-labels.json").write_text('{"Opening something": "0", "Closing something": "1"}')
    names = ("Opening something", "Closing something")
    return Layout(lists["train"], lists["validation"], root / "20bn", names, ("--data.flip=false",))


def jester(root: Path) -> Layout:
    """Frame folders of numbers, and tables of names."""
    lists = {}
    for split, first in (("train", 100), ("validation", 150)):
        lines = []
        for i in range(VIDEOS):
            as_folder(root / "20bn" / f"{first + i}", first + i, "{:05d}.jpg")
            lines.append(f"{first + i};{('Swiping Left', 'No gesture')[i % 2]}")
        lists[split] = write(root / f"jester-v1-{split}.csv", lines)
    write(root / "jester-v1-labels.csv", ["Swiping Left", "No gesture"])
    names = ("Swiping Left", "No gesture")
    return Layout(lists["train"], lists["validation"], root / "20bn", names, ("--data.flip=false",))


LAYOUTS = [activitynet, activitynet_raw, fcvid, mini_kinetics, something_v1, something_v2, jester]


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_a_made_up_dataset_goes_all_the_way(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    made = make(tmp_path / "data")
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(RECIPE))
    lists = [made.train, "--val", made.val, "--root", made.root]
    checks = ["--recipe", tmp_path / "small.yaml", "--workers", "0", "--out", tmp_path / "seen.png", "--json"]
    done = cli("data", "check", *lists, *checks)
    assert done.code == 0, done.out
    found = json.loads(done.out)
    assert found["classes"] == len(made.classes)
    assert [found["lists"][split]["usable"] for split in ("train", "val")] == [VIDEOS, VIDEOS]

    data = [f"--data.train_list={made.train}", f"--data.val_list={made.val}", f"--data.root={made.root}", *made.options]
    counted = [cli("flops", tmp_path / "small.yaml", *data, f"--model.num_classes={k}") for k in (0, found["classes"])]
    assert counted[0].code == 0, counted[0].err
    assert counted[0].out == counted[1].out, "classes are counted as training counts them"

    seen = []
    monkeypatch.setattr(measure, "mean_average_precision", lambda *pair: seen.append(pair) or METRIC(*pair))
    run = tmp_path / "run"
    done = cli("train", tmp_path / "small.yaml", "--out", run, *data, "--json")
    assert done.code == 0, done.err
    results = json.loads(done.out)
    assert results["failed"] == []
    if make is fcvid:
        done = cli("evaluate", run, "--json")
        assert done.code == 0, done.err
        results = json.loads(done.out)
    assert {row["videos"] for row in results["rows"]} == {VIDEOS}
    # Each label of each video counts, and the value is scikit-learn's.
    values = []
    for scores, truth in seen:
        present = truth.any(axis=0)
        assert scores.shape == truth.shape == (VIDEOS, len(made.classes))
        assert truth.sum() == {fcvid: 2 * VIDEOS - 1, activitynet_raw: 1.5 * VIDEOS}.get(make, VIDEOS)
        values.append(average_precision_score(truth[:, present], scores[:, present]))
    assert all(any(row["map"] == pytest.approx(value) for value in values) for row in results["rows"])


METRIC = measure.mean_average_precision
