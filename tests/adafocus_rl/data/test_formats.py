"""Official list files and annotations: one line each of what circulates, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from adafocus_rl.data.class_names import read_class_names
from adafocus_rl.data.formats import detect_format
from adafocus_rl.data.index import VideoIndex, VideoRecord
from adafocus_rl.data.read import read_index, read_list
from adafocus_rl.errors import UserError


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _rows(index: VideoIndex) -> list[tuple[str, int, tuple[int, ...]]]:
    return [(record.path, record.video_frames, record.labels) for record in index]


@pytest.mark.parametrize(
    ("text", "format", "rows"),
    [
        # ActivityNet, FCVID: a label per segment, so repeats are normal.
        ("a-B,100,7,7,7\n_c,20,3,12\n", "comma", [("a-B", 100, (7,)), ("_c", 20, (3, 12))]),
        # Mini-Kinetics: paths with spaces.
        ("air drumming/x 1 80 0\nyoga/y 300 199\n", "space", [("air drumming/x 1", 80, (0,)), ("yoga/y", 300, (199,))]),
        # Something-Something, Jester.
        ("100218 42 31\n48032 57 79\n", "space", [("100218", 42, (31,)), ("48032", 57, (79,))]),
        # ActivityNet as OCSampler has it: several labels, separated by spaces.
        ("v_N 511 189 58\nv_i 65 8\n", "space", [("v_N", 511, (189, 58)), ("v_i", 65, (8,))]),
        # Without numbers of frames.
        ("air drumming/a b.mp4 3\nc.mp4 0\n", "space", [("air drumming/a b.mp4", 0, (3,)), ("c.mp4", 0, (0,))]),
        # Mini-Kinetics as AdaFuse has it.
        ("val/air drumming/x;60;0\nval/y;5;2", "semicolon", [("val/air drumming/x", 60, (0,)), ("val/y", 5, (2,))]),
        # Our own.
        ("path,label,num_frames\na.mp4,1;4,7\n", "csv", [("a.mp4", 7, (1, 4))]),
    ],
)
def test_lists_of_numbers(tmp_path: Path, text: str, format: str, rows: list[tuple[str, int, tuple[int, ...]]]) -> None:
    path = _write(tmp_path / "list.txt", text)
    assert detect_format(path, text) == format
    assert _rows(read_index(path)) == rows
    assert _rows(read_index(path, format=format)) == rows  # type: ignore[arg-type]
    path.with_name("list.txt.gz").write_bytes(gzip.compress(text.replace("\n", "\r\n").encode()))
    assert _rows(read_index(path.with_name("list.txt.gz"))) == rows


def test_what_is_on_disk_decides_how_a_line_is_cut(tmp_path: Path) -> None:
    """`clip 3 120 0` is `clip` with two labels, or `clip 3` with one."""
    path = _write(tmp_path / "list.txt", "clip 3 120 0\n")
    assert _rows(read_index(path)) == [("clip", 3, (120, 0))]
    (tmp_path / "clip 3").mkdir()
    assert _rows(read_index(path)) == [("clip 3", 120, (0,))]
    (tmp_path / "clip").mkdir()
    assert _rows(read_index(path)) == [("clip", 3, (120, 0))]


def test_ids_are_found_as_releases_store_them(tmp_path: Path) -> None:
    for name in ("v_abc.mp4", "def.mkv", "yoga/ghi_000010_000020.mp4", "air_drumming/jkl.webm", "notes/mno.txt"):
        _write(tmp_path / "videos" / name, "x")
    (tmp_path / "videos" / "pqr.st").mkdir()
    _write(tmp_path / "classes.txt", "yoga\nair drumming\n")
    path = _write(tmp_path / "list.txt", "abc 9 0\nv_def 9 0\nghi 9 0\njkl 9 1\nnotes/mno 9 0\npqr.st 9 0\n")
    index = read_index(path, root=tmp_path / "videos")
    assert [record.path for record in index] == [
        "v_abc.mp4", "def.mkv", "yoga/ghi_000010_000020.mp4", "air_drumming/jkl.webm", "notes/mno", "pqr.st",
    ]  # fmt: skip
    absolute = _write(tmp_path / "absolute.txt", f"{tmp_path}/videos/abc 9 0\n")
    assert read_index(absolute).full_path(0) == tmp_path / "videos" / "v_abc.mp4"


ANNOTATIONS = {
    "a": {"subset": "training", "annotations": [{"label": "Zumba", "segment": [0, 1]}] * 2},
    "b": {"subset": "training", "annotations": [{"label": "BMX"}, {"label": "Zumba"}]},
    "c": {"subset": "validation", "annotations": [{"label": "Archery"}]},
    "d": {"subset": "testing", "annotations": []},
}


def test_activitynets_annotations(tmp_path: Path) -> None:
    path = _write(tmp_path / "anet.json", json.dumps({"version": "1.3", "database": ANNOTATIONS}))
    train, val = (read_index(path, split=split) for split in ("train", "val"))  # type: ignore[arg-type]
    # Names of all subsets are numbered, so that the labels of both lists agree.
    assert train.class_names == val.class_names == ("Archery", "BMX", "Zumba")
    assert _rows(train) == [("a", 0, (2,)), ("b", 0, (1, 2))]
    assert _rows(val) == [("c", 0, (0,))]
    assert [record.path for record in read_index(path)] == ["a", "b", "c"]
    _write(tmp_path / "classInd.txt", "0,Zumba\n1,Archery\n2,BMX\n")
    assert _rows(read_index(path, split="val")) == [("c", 0, (1,))]
    flat = {name: {"annotations": entry["annotations"], "duration_frame": 5} for name, entry in ANNOTATIONS.items()}
    assert len(read_index(_write(tmp_path / "flat.json", json.dumps(flat)), split="val")) == 3


SOMETHING = [
    {"id": "7", "label": "putting a cup on a table", "template": "Putting [something] on [something]"},
    {"id": "9", "label": "hitting a ball", "template": "Hitting [something] with [something]"},
]


def test_somethings_annotations_in_both_orders(tmp_path: Path) -> None:
    path = _write(tmp_path / "train.json", json.dumps(SOMETHING))
    names = ["Putting something on something", "Hitting something with something"]
    unsorted = _write(tmp_path / "labels.json", json.dumps({name: str(label) for label, name in enumerate(names)}))
    index = read_index(path)
    assert _rows(index) == [("7", 0, (0,)), ("9", 0, (1,))]
    assert f"order of {unsorted} (2 names, not alphabetical: 0 is 'Putting something on something'" in index.notes[0]
    category = _write(tmp_path / "category.txt", "Hitting something with something\nPutting something on something\n")
    index = read_index(path)
    assert _rows(index) == [("7", 0, (1,)), ("9", 0, (0,))]
    assert f"order of {category} (2 names, alphabetical" in index.notes[0]
    assert f"{unsorted} has others, or another order" in index.notes[0]
    assert _rows(read_index(path, classes=unsorted)) == [("7", 0, (0,)), ("9", 0, (1,))]


def test_jesters_and_somethings_tables(tmp_path: Path) -> None:
    path = _write(tmp_path / "jester-v1-train.csv", "34870;Drumming Fingers\n56557;swiping left\n")
    _write(tmp_path / "jester-v1-labels.csv", "Swiping Left\nDrumming Fingers\n")
    index = read_index(path)
    assert _rows(index) == [("34870", 0, (1,)), ("56557", 0, (0,))]
    assert "jester-v1-labels.csv (2 names, not alphabetical" in index.notes[0]


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("classes.txt", "run\njump, high\n", ("run", "jump, high")),
        (
            "classInd.txt",
            "0,Sunscreen\n1,Mixing, then stirring\n",
            ("Sunscreen", "Mixing, then stirring"),
        ),
        ("classInd.txt", "1 ApplyEyeMakeup\n2 Archery\n", ("ApplyEyeMakeup", "Archery")),
        ("classes.txt", "2 hands\n1 hand\n", ("2 hands", "1 hand")),
        ("labels.json", '{"b": "0", "a": 1}', ("b", "a")),
        ("labels.json", '["b", "a"]', ("b", "a")),
    ],
)
def test_files_of_class_names(tmp_path: Path, name: str, text: str, names: tuple[str, ...]) -> None:
    assert read_class_names(_write(tmp_path / name, text)).names == names


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.txt",
            "just some prose\nand more\n",
            "none of the known list formats (its first line is 'just",
        ),
        ("a.txt", "id,5,1\nid2,5\nid3,6,2\n", "line 2: 'id2,5' has 2 values; expected id,frames,label"),
        ("a.txt", "id,5,1\nid2,-5,0\n", "line 2: the number of frames is '-5'"),
        ("a.txt", "id,5,1\nid2,5,-1\n", "line 2: the label is '-1'"),
        ("a.txt", "id 5 1\nid2 5 x\nid3 6 1\n", "line 2: the label is 'x'"),
        ("a.txt", "id 5 1\nid2 -5 1\n", "line 2: the number of frames is '-5'"),
        ("a.txt", "id 5 1\nid 6 1\n", "line 2: 'id' is already on line 1"),
        ("a.csv", "1;Wave\n2\n3;Wave\n", "line 2: '2' gives no class"),
        ("a.json", '{"database": [1]}', "JSON of another shape"),
        ("a.json", '{"a": {"subset": "testing", "annotations": []}}', "no annotated video"),
        ("a.json", '[{"id": "4"}]', "a published test split has none"),
        ("a.json", '[{"id": ', "a.json is no valid JSON"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = _write(tmp_path / name, text)
    with pytest.raises(UserError) as caught:
        read_index(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_name_that_is_no_class_gets_a_suggestion(tmp_path: Path) -> None:
    _write(tmp_path / "labels.csv", "Swiping Left\nSwiping Right\n")
    with pytest.raises(UserError, match=r"line 1: 'Swipping Left' is none of the 2 class names .* 'Swiping Left'"):
        read_index(_write(tmp_path / "a.csv", "1;Swipping Left\n"))


def test_templates_change_the_hash_and_are_checked(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.txt", "id 5 1\n")
    assert read_index(path, template="img_{:05d}.jpg").hash() != read_index(path).hash()
    with pytest.raises(UserError, match=r"expected one number in braces, as in 'image_\{:05d\}.jpg'"):
        read_index(path, template="img.jpg")


SHARED = Path(os.environ.get("ADAFOCUS_SHARED_DATA") or Path(__file__).parents[4] / "shared" / "data") / "annotations"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the official list files are not here (ADAFOCUS_SHARED_DATA)")
@pytest.mark.parametrize(
    ("name", "format", "videos", "labels", "several"),
    [
        ("anet_train_ocsampler", "space", 10024, 200, 0),
        ("anet_val_multilabel_ocsampler", "space", 4926, 200, 7),
        ("actnet_train_split_arnet", "comma", 10017, 200, 6),
        ("actnet_val_split_arnet", "comma", 4921, 200, 7),
        ("minikinetics_val_ocsampler", "space", 9864, 200, 0),
        ("minik_val_adafuse", "semicolon", 9867, 200, 0),
        ("sthv1_val", "space", 11522, 174, 0),
        ("sthv2_val", "space", 24777, 174, 0),
        ("jester_val", "space", 14787, 27, 0),
    ],
)
def test_the_official_lists(name: str, format: str, videos: int, labels: int, several: int) -> None:
    content = read_list(SHARED / f"{name}.txt.gz")
    records = [record for _, record in content.lines if isinstance(record, VideoRecord)]
    assert content.format == format
    assert len(records) == len(content.lines) == videos
    assert {label for record in records for label in record.labels} == set(range(labels))
    assert sum(len(record.labels) > 1 for record in records) == several
    assert all(record.video_frames > 0 for record in records)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the official list files are not here (ADAFOCUS_SHARED_DATA)")
def test_the_official_class_names() -> None:
    names = {kind: read_class_names(SHARED / f"{kind}_classInd.txt.gz") for kind in ("sthv1", "sthv2", "jester")}
    assert [len(found.names) for found in names.values()] == [174, 174, 27]
    assert [found.is_sorted for found in names.values()] == [False, True, False]
    anet = read_index(SHARED / "anet_anno_action_bmn.json.gz", classes=SHARED / "actnet_classInd_arnet.txt.gz")
    # 19,228 entries, of which the 4,851 of the test subset have no annotation.
    assert len(anet) == 14377
    assert sum(len(record.labels) > 1 for record in anet) == 11
