"""One order of classes for all lists of a run, the training list's, whatever their formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adafocus_rl.data.class_names import class_names_text, read_class_names
from adafocus_rl.data.index import VideoIndex
from adafocus_rl.data.read import read_index, read_indices
from adafocus_rl.errors import UserError

WALK = "walk\nrun\n"  # not in alphabetical order
RUN = "run\nwalk\n"


def write(folder: Path, **files: str) -> dict[str, Path]:
    """Files of ``a`` and ``b``, folders of the training and the validation list, by their names with _ for the dot."""
    lists = {}
    for name, text in files.items():
        side, _, rest = name.partition("_")
        path = folder / side / rest.replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if rest.startswith("list"):
            lists["train" if side == "a" else "val"] = path
    return lists


def labels(index: VideoIndex) -> dict[str, int]:
    return {record.path: record.labels[0] for record in index}


JSON_LISTS = {
    "a_list_json": json.dumps({"1": {"annotations": [{"label": "run"}]}, "2": {"annotations": [{"label": "walk"}]}}),
    "b_list_json": json.dumps({"3": {"annotations": [{"label": "walk"}]}}),
}
SOMETHING = {
    "a_list_json": json.dumps([{"id": "1", "template": "run"}, {"id": "2", "template": "walk"}]),
    "b_list_json": json.dumps([{"id": "3", "template": "[Walk]"}]),
}


@pytest.mark.parametrize(
    ("files", "train", "val", "names"),
    [
        # The validation list lacks a class: its own sorted names would begin with another one.
        ({"a_list_txt": "1;run\n2;walk\n", "b_list_txt": "3;walk\n"}, {"1": 0, "2": 1}, {"3": 1}, "run walk"),
        ({"a_list_csv": "path,label\n1,run\n2,walk\n", "b_list_csv": "path,label\n3,walk\n"},
         {"1": 0, "2": 1}, {"3": 1}, "run walk"),
        (JSON_LISTS, {"1": 0, "2": 1}, {"3": 1}, "run walk"),
        (SOMETHING, {"1": 0, "2": 1}, {"3": 1}, "run walk"),
        # The files of class names differ, but labels are names.
        ({"a_list_txt": "1;run\n2;walk\n", "a_classes_txt": WALK, "b_list_txt": "3;walk\n", "b_classes_txt": RUN},
         {"1": 1, "2": 0}, {"3": 0}, "walk run"),
        # Numbers with names there, names alone here.
        ({"a_list_csv": "path,label\n1,0\n2,1\n", "a_classes_txt": WALK, "b_list_txt": "3;walk\n4;Run\n"},
         {"1": 0, "2": 1}, {"3": 0, "4": 1}, "walk run"),
        ({"a_list_txt": "1;run\n2;walk\n", "b_list_csv": "path,label\n3,0\n4,1\n", "b_classes_txt": WALK},
         {"1": 0, "2": 1}, {"3": 1, "4": 0}, "run walk"),
        ({"a_list_txt": "1;run\n2;walk\n", "b_list_txt": "3 9 0\n4 9 1\n", "b_classInd_txt": "0,walk\n1,run\n"},
         {"1": 0, "2": 1}, {"3": 1, "4": 0}, "run walk"),
        # Numbers that mean the same, or of which nobody says what they mean.
        ({"a_list_csv": "path,label\n1,0\n2,1\n", "a_classes_txt": WALK, "b_list_txt": "3 9 1\n",
          "b_category_txt": WALK}, {"1": 0, "2": 1}, {"3": 1}, "walk run"),
        ({"a_list_csv": "path,label\n1,0\n2,1\n", "a_classes_txt": WALK, "b_list_csv": "path,label\n3,1\n"},
         {"1": 0, "2": 1}, {"3": 1}, "walk run"),
        ({"a_list_csv": "path,label\n1,0\n2,1\n", "b_list_txt": "3 9 1\n"}, {"1": 0, "2": 1}, {"3": 1}, ""),
    ],
)  # fmt: skip
def test_labels_are_the_training_lists(
    tmp_path: Path, files: dict[str, str], train: dict[str, int], val: dict[str, int], names: str
) -> None:
    lists = write(tmp_path, **files)
    found = read_indices(lists)
    assert labels(found["train"]) == train
    assert labels(found["val"]) == val
    assert [index.class_names for index in found.values()] == [tuple(names.split()) or None] * 2
    # What is there in one list only is read as it always was.
    assert labels(read_index(lists["train"])) == train


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a_list_csv": "path,label\n1,0\n2,1\n", "a_classes_txt": WALK, "b_list_csv": "path,label\n3,0\n",
          "b_classes_txt": RUN}, ["class 0 is 'walk' in {a}/classes.txt and 'run' in {b}/classes.txt"]),
        ({"a_list_txt": "1 9 0\n2 9 1\n", "a_category_txt": WALK, "b_list_csv": "path,label\n3,0\n",
          "b_classes_txt": "walk\nswim\n"}, ["class 1 is 'run' in {a}/category.txt and 'swim' in {b}/classes.txt"]),
        ({"a_list_csv": "path,label\n1,0\n2,1\n", "a_classes_txt": WALK, "b_list_csv": "path,label\n3,0\n",
          "b_classes_txt": "walk\n"}, ["there are 2 classes in {a}/classes.txt and 1 in {b}/classes.txt"]),
        ({"a_list_txt": "1;run\n2;walk\n", "b_list_txt": "3;walk\n4;swim\n"},
         ["{b}/list.txt, line 2: 'swim' is none of the 2 class names of {a}/list.txt"]),
        ({"a_list_txt": "1;run\n2;walk\n", "b_list_csv": "path,label\n3,0\n", "b_classes_txt": "swim\nwalk\n"},
         ["{b}/list.csv, line 2: 'swim' is none of", "{a}/list.txt"]),
        ({"a_list_txt": "1;run\n2;walk\n", "b_list_csv": "path,label\n3,2\n", "b_classes_txt": WALK},
         ["{b}/list.csv, line 2: the label is 2, but {b}/classes.txt has 2 names"]),
        ({"a_list_txt": "1;run\n2;walk\n", "b_list_csv": "path,label\n3,0\n"},
         ["{b}/list.csv has numbers for classes and {a}/list.txt has names", "data.classes"]),
        ({"a_list_csv": "path,label\n1,0\n2,1\n", "b_list_txt": "3;walk\n"},
         ["{a}/list.csv has numbers for classes and {b}/list.txt has names", "data.classes"]),
        ({"a_list_txt": "1;Run\n2;run\n", "b_list_txt": "3;RUN\n"},
         ["{b}/list.txt, line 1: 'RUN' may be class 0 or 1 of {a}/list.txt"]),
    ],
)  # fmt: skip
def test_classes_that_contradict_are_refused(tmp_path: Path, files: dict[str, str], words: list[str]) -> None:
    lists = write(tmp_path, **files)
    with pytest.raises(UserError) as caught:
        read_indices(lists)
    for fragment in words:
        assert fragment.format(a=tmp_path / "a", b=tmp_path / "b") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_file_for_both_lists_settles_it(tmp_path: Path) -> None:
    numbers = {"a_list_csv": "path,label\n1,0\n", "b_list_csv": "path,label\n2,1\n"}
    lists = write(tmp_path, **numbers, a_classes_txt=WALK, b_classes_txt=RUN)
    found = read_indices(lists, classes=tmp_path / "b" / "classes.txt")
    assert {index.class_names for index in found.values()} == {("run", "walk")}
    names = write(tmp_path, a_list_txt="1;walk\n", b_list_txt="2 9 1\n")
    assert labels(read_indices(names, classes=tmp_path / "a" / "classes.txt")["val"]) == {"2": 1}


def test_stills_are_a_list_of_the_run_too(tmp_path: Path) -> None:
    lists = write(tmp_path, a_list_txt="1;run\n2;walk\n", b_list_txt="3;run\n")
    stills = tmp_path / "b" / "stills.txt"
    stills.write_text("4;walk\n")
    assert labels(read_indices({**lists, "stills": stills})["stills"]) == {"4": 1}


def test_a_list_is_no_file_of_class_names(tmp_path: Path) -> None:
    """``val_labels.csv`` beside a training list has a name like a file of class names."""
    (tmp_path / "train_labels.csv").write_text("1;run\n2;walk\n")
    (tmp_path / "val_labels.csv").write_text("3;walk\n")
    found = read_indices({"train": tmp_path / "train_labels.csv", "val": tmp_path / "val_labels.csv"})
    assert labels(found["val"]) == {"3": 1}


def test_names_and_numbers_do_not_mix(tmp_path: Path) -> None:
    """Where the most labels are names, numbers are names; else names are mistakes."""
    (tmp_path / "a.txt").write_text("1;one\n2;2\n3;three\n")
    found = read_index(tmp_path / "a.txt")
    assert (found.class_names, [record.labels for record in found]) == (("2", "one", "three"), [(1,), (0,), (2,)])
    (tmp_path / "a.txt").write_text("1;0\n2;two\n3;1\n")
    with pytest.raises(UserError, match=r"line 2: label is 'two'; expected an integer of 0 or more, as on most lines"):
        read_index(tmp_path / "a.txt")


@pytest.mark.parametrize(
    "names",
    [
        ["run", "walk"], ["1 finger", "2 finger"], ["1 finger", "2 fingers"], ["0 points", "1 point"], ["[x]", "y"],
        ["{", "}"], [" run", "walk "], ["0", "1"], ["1,5", "2,5"], ["run"], ["1 thing"],
    ],
)  # fmt: skip
def test_names_are_read_as_they_were_written(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "classes.txt").write_text(class_names_text(names), encoding="utf-8")
    assert list(read_class_names(tmp_path / "classes.txt").names) == names


def test_a_name_is_known_with_its_number_too(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("1 finger\n2 fingers\n")
    found = read_class_names(tmp_path / "classes.txt")
    assert [found.label(name) for name in ("finger", "2 fingers", "1 Finger", "3 fingers")] == [0, 1, None, None]
