"""``adafocus data index``: lists that are stratified, keep groups whole, and follow from the seed."""

from __future__ import annotations

import errno
import json
import os
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from adafocus_rl.data.index import VideoIndex, VideoRecord
from adafocus_rl.data.own_videos import OwnVideos, split_videos
from adafocus_rl.data.read import read_indices

Cli = Any


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_a_folder_of_classes(cli: Cli, tmp_path: Path) -> None:
    root = tmp_path / "videos"
    for i in range(10):
        touch(root / "run" / f"{i}.mp4", root / "jump high" / "day 1" / f"{i}.MKV")
        touch(root / "swim" / "deep" / f"clip{i}" / "00001.jpg", root / "swim" / "deep" / f"clip{i}" / "00002.jpg")
    touch(root / ".hidden" / "a.mp4", root / "run" / ".b.mp4", root / "run" / ".git" / "c.mp4")
    touch(root / "run" / "notes.txt", root / "swim" / "deep" / "clip0" / "sound.wav", root / "readme.md")
    (root / "run" / "loop").symlink_to(root / "run")
    done = cli("data", "index", root, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["train"], found["val"]) == (24, 6)
    assert found["classes"] == {name: {"train": 8, "val": 2} for name in ("jump high", "run", "swim")}
    assert found["ignored"] == {".txt": 1, ".wav": 1}
    train, val = (VideoIndex.read(root / f"{split}.csv") for split in ("train", "val"))
    assert train.class_names == ("jump high", "run", "swim")
    paths = [record.path for index in (train, val) for record in index]
    kinds = {"run": ".mp4", "jump high/day 1": ".MKV", "swim/deep": ""}
    stored = {"run": "", "jump high/day 1": "", "swim/deep": "clip"}
    assert sorted(paths) == sorted(f"{at}/{stored[at]}{i}{end}" for at, end in kinds.items() for i in range(10))
    assert all(index.full_path(i).exists() for index in (train, val) for i in range(len(index)))

    lists = [(root / f"{split}.csv").read_text() for split in ("train", "val")]
    done = cli("data", "index", root)
    assert done.code == 2
    assert "train.csv is there already; add --overwrite" in done.err
    assert cli("data", "index", root, "--overwrite").code == 0
    assert [(root / f"{split}.csv").read_text() for split in ("train", "val")] == lists
    assert cli("data", "index", root, "--overwrite", "--seed", "1").code == 0
    assert [(root / f"{split}.csv").read_text() for split in ("train", "val")] != lists
    # Elsewhere, paths still lead to the videos without any option.
    lists_folder = tmp_path / "lists" / "a b"
    done = cli("data", "index", root, "--out", lists_folder, "--val", "0.5")
    assert done.code == 0
    _, command, _ = done.err.splitlines()[-1].split("`")
    check = ["adafocus", "data", "check", str(lists_folder / "train.csv"), "--val", str(lists_folder / "val.csv")]
    assert shlex.split(command) == check
    moved = VideoIndex.read(lists_folder / "val.csv")
    assert len(moved) == 15
    assert all(moved.full_path(i).exists() for i in range(15))


def test_groups_stay_whole_and_classes_balanced() -> None:
    records = [VideoRecord(path=f"{i}.mp4", labels=(i % 3,), extra={"group": f"scene {i // 6}"}) for i in range(180)]
    videos = OwnVideos(records=records, class_names=("a", "b", "c"))
    sides = set()
    for seed in range(4):
        train, val = split_videos(videos, val=0.2, seed=seed)
        assert sorted(record.path for record in train + val) == sorted(record.path for record in records)
        groups = [{record.extra["group"] for record in side} for side in (train, val)]
        assert not groups[0] & groups[1]
        assert Counter(record.labels[0] for record in val) == {0: 12, 1: 12, 2: 12}
        sides.add(tuple(sorted(groups[1])))
    assert len(sides) == 4


def _mixed() -> OwnVideos:
    """57 videos of four classes in 15 groups of one to seven, each with a mixture of classes of its own."""
    groups = [group for group in range(15) for _ in range(1 + group * 5 % 7)]
    records = [
        VideoRecord(path=str(i), labels=(i * i % 7 % 4,), extra={"group": f"scene {group}"})
        for i, group in enumerate(groups)
    ]
    return OwnVideos(records=records, class_names=("a", "b", "c", "d"))


def test_equal_seeds_split_equally_and_others_do_not() -> None:
    """Whatever the version of scikit-learn; some shuffle what they have counted of groups, but not the groups."""
    for size in (1, 2, 30):
        extra = [{"group": str(i // size)} if size > 1 else {} for i in range(300)]
        records = [VideoRecord(path=str(i), labels=(i % 2,), extra=extra[i]) for i in range(300)]
        videos = OwnVideos(records=records, class_names=("a", "b"))
        found = [tuple(record.path for record in split_videos(videos, val=0.2, seed=seed)[1]) for seed in (0, 1, 2, 0)]
        assert found[0] == found[3]
        assert len(set(found)) == 3


def test_groups_that_differ_keep_the_shares_of_classes() -> None:
    videos = _mixed()
    counts = Counter(record.labels[0] for record in videos.records)
    for seed in range(5):
        _, val = split_videos(videos, val=0.25, seed=seed)
        found = Counter(record.labels[0] for record in val)
        assert all(abs(found[label] - count / 4) <= 2 for label, count in counts.items()), found


def test_a_seed_keeps_its_split() -> None:
    """Lists that were made before can be made again."""
    _, val = split_videos(_mixed(), val=0.25, seed=3)
    assert [int(record.path) for record in val] == [7, 8, 9, 10, *range(13, 20), *range(28, 35)]


def test_every_class_can_be_learnt() -> None:
    """A class of one video goes to training, and so does one of two that would all be validation."""
    labels = [0] * 10 + [1] * 10 + [*range(2, 20)] + [20, 20]
    records = [VideoRecord(path=str(i), labels=(label,)) for i, label in enumerate(labels)]
    videos = OwnVideos(records=records, class_names=tuple(map(str, range(21))))
    for seed in range(5):
        train, val = split_videos(videos, val=0.2, seed=seed)
        assert {record.labels[0] for record in train} == {*range(21)}
        assert len(val) >= 4


def test_a_table_with_names_groups_and_folds(cli: Cli, tmp_path: Path) -> None:
    rows = [f"clips/{i}.mp4,{('swim;run', 'run')[i % 2]},g{i // 2},{i // 2 % 3},note {i}" for i in range(12)]
    (tmp_path / "table.csv").write_text("path,label,group,fold,remark\n" + "\n".join(rows) + "\n")
    assert cli("data", "index", tmp_path / "table.csv", "--fold", "1", "--out", tmp_path / "one").code == 0
    val = VideoIndex.read(tmp_path / "one" / "val.csv")
    assert [(record.path, record.labels) for record in val] == [
        ("../clips/2.mp4", (1, 0)), ("../clips/3.mp4", (0,)), ("../clips/8.mp4", (1, 0)), ("../clips/9.mp4", (0,)),
    ]  # fmt: skip
    assert val.class_names == ("run", "swim")
    assert val[0].extra == {"fold": "1", "group": "g1", "remark": "note 2"}
    done = cli("data", "index", tmp_path / "table.csv", "--fold", "7", "--out", tmp_path / "two")
    assert done.code == 2
    assert "there is no fold '7'; the table has '0', '1', '2'" in done.err
    done = cli("data", "index", tmp_path / "table.csv", "--out", tmp_path / "first")
    assert "the column fold decides the split: '0' is validation, of '0', '1', '2'; --fold names another" in done.err
    assert (
        "the column fold"
        not in cli("data", "index", tmp_path / "table.csv", "--fold", "1", "--out", tmp_path / "b").err
    )
    (tmp_path / "words.csv").write_text("path,label,fold\na,0,train\nb,1,train\nc,1,val\n")
    assert cli("data", "index", tmp_path / "words.csv", "--out", tmp_path / "three").code == 0
    assert [record.path for record in VideoIndex.read(tmp_path / "three" / "val.csv")] == ["../c"]


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        ("path,class\na,1\n", [], "line 1: no column 'label' (the header is 'path,class')"),
        ("path,label\na,1\na,2\n", [], "line 3: 'a' is on line 2 already"),
        ("path,label\na,\n", [], "line 2: expected 2 values"),
        ("path,label\n", [], "lists no video"),
        ("path,label\na,0\nb,1\n", [], "no class has two videos"),
        ("path,label,group\na,0,x\nb,0,x\n", [], "all 2 videos are one group"),
        ("path,label\na,0\nb,0\n", ["--val", "0.7"], "share of validation videos is 0.7"),
        ("path,label\na,0\nb,0\n", ["--fold", "1"], "there is no column fold"),
    ],
)
def test_mistakes(cli: Cli, tmp_path: Path, content: str, arguments: list[str], words: str) -> None:
    (tmp_path / "table.csv").write_text(content)
    done = cli("data", "index", tmp_path / "table.csv", "--out", tmp_path / "out", *arguments)
    assert done.code == 2
    assert words in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_folders_without_videos(cli: Cli, tmp_path: Path) -> None:
    assert "there is no folder" in cli("data", "index", tmp_path / "none").err
    touch(tmp_path / "loose.mp4")
    done = cli("data", "index", tmp_path)
    assert done.code == 2
    assert "expected CLASS/NAME" in done.err
    touch(tmp_path / "run" / "a.mp4", tmp_path / "empty" / "b.txt")
    assert "empty holds no video" in cli("data", "index", tmp_path).err


def test_names_that_a_list_cannot_hold_are_left_out_and_counted(cli: Cli, tmp_path: Path) -> None:
    """And the lists that were there stay whole."""
    root = tmp_path / "videos"
    touch(*(root / name / f"{i}.mp4" for name in ("run", "walk") for i in range(3)))
    assert cli("data", "index", root).code == 0
    before = {path: path.read_bytes() for path in root.iterdir() if path.is_file()}
    try:
        touch(
            root / "run" / os.fsdecode(b"caf\xe9.mp4"), root / os.fsdecode(b"\xff") / "x.mp4", root / "walk" / "e.mp4 "
        )
    except OSError:
        pytest.skip("this disk takes UTF-8 names only")
    done = cli("data", "index", root, "--overwrite")
    assert done.code == 0, done.err
    assert "2 videos were left out because lists cannot hold their names" in done.err
    assert {path: path.read_bytes() for path in root.iterdir() if path.is_file()} == before
    bad = tmp_path / os.fsdecode(b"\xfe")
    bad.joinpath("in", "run").mkdir(parents=True)
    for i in range(3):
        touch(bad / "in" / "run" / f"{i}.mp4")
    (tmp_path / "out").mkdir()
    done = cli("data", "index", bad / "in", "--out", tmp_path / "out")
    assert done.code == 2
    assert "which is no UTF-8" in done.err
    assert list((tmp_path / "out").iterdir()) == []


def test_lists_are_replaced_together_or_not_at_all(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "videos"
    touch(*(root / name / f"{i}.mp4" for name in ("run", "walk") for i in range(5)))
    assert cli("data", "index", root).code == 0
    before = {path.name: path.read_bytes() for path in root.iterdir() if path.is_file()}
    touch(*(root / "swim" / f"{i}.mp4" for i in range(5)))
    written = []
    write_bytes = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        written.append(path)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write_bytes(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        done = cli("data", "index", root, "--overwrite")
    assert done.code == 2
    assert "No space left on device" in done.err
    assert {path.name: path.read_bytes() for path in root.iterdir() if path.is_file()} == before
    (root / "val.csv").unlink()
    (root / "val.csv").mkdir()
    done = cli("data", "index", root, "--overwrite")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert (root / "train.csv").read_bytes() == before["train.csv"]
    # The table that is indexed is not replaced by its own lists, however it is called.
    (root / "val.csv").rmdir()
    (tmp_path / "link").symlink_to(root)
    done = cli("data", "index", tmp_path / "link" / "train.csv", "--out", root, "--overwrite")
    assert done.code == 2
    assert "would be overwritten by the lists" in done.err


@pytest.mark.parametrize(
    "classes", [("1 finger", "2 fingers"), ("1 finger", "2 finger"), ("0 x", "1 y"), ("[a]", "{b}")]
)
def test_classes_whose_names_begin_oddly(cli: Cli, tmp_path: Path, classes: tuple[str, ...]) -> None:
    touch(*(tmp_path / name / f"{i}.mp4" for name in classes for i in range(4)))
    assert cli("data", "index", tmp_path, "--val", "0.25").code == 0
    found = read_indices({split: tmp_path / f"{split}.csv" for split in ("train", "val")})
    assert [index.class_names for index in found.values()] == [classes, classes]
    done = cli("data", "check", tmp_path / "train.csv", "--val", tmp_path / "val.csv", "--json")
    assert {one["kind"] for one in json.loads(done.out)["faults"]} & {"class_name", "other_classes"} == set()


def test_a_european_table(cli: Cli, tmp_path: Path) -> None:
    rows = "".join(f"{i}.mp4;{('run', 'walk')[i % 2]};g{i}\r\n" for i in range(8))
    (tmp_path / "table.csv").write_text(f"\ufeffpath;label;group\r\n{rows}", newline="")
    assert cli("data", "index", tmp_path / "table.csv").code == 0
    assert VideoIndex.read(tmp_path / "train.csv").class_names == ("run", "walk")
    assert {record.extra["group"][0] for record in VideoIndex.read(tmp_path / "val.csv")} == {"g"}
