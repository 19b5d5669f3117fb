"""Whatever a list file holds, it ends in videos or in one sentence, soon and in little memory."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adafocus_rl.data.class_names import read_class_names
from adafocus_rl.data.formats import ListFormat
from adafocus_rl.data.index import VideoIndex, missing, read_boxes
from adafocus_rl.data.own_videos import read_table
from adafocus_rl.data.read import read_index, read_indices, read_list
from adafocus_rl.errors import UserError

Rows = list[tuple[str, int, tuple[int, ...]]]


def rows(index: VideoIndex) -> Rows:
    return [(record.path, record.video_frames, record.labels) for record in index]


def write(folder: Path, content: str | bytes, name: str = "list.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


EXPECTED: Rows = [("a b.mp4", 7, (0,)), ("b.mp4", 0, (1, 0))]


@pytest.mark.parametrize(
    "content",
    [
        'path;label;num_frames\na b.mp4;0;7\nb.mp4;"1;0";\n',
        "path\tlabel\tnum_frames\na b.mp4\t0\t7\nb.mp4\t1; 0\t\n",
        "path,label,num_frames\ra b.mp4,0,7\rb.mp4,1;0,\r",
        '\ufeff"path";label;num_frames\r\n"a b.mp4";0;7\r\nb.mp4;\'1;0\';\r\n'.replace("'", '"'),
        "path,label,num_frames,,\na b.mp4,0,7,,\nb.mp4,1;0;,,,\n",
        "path,label,num_frames\na b.mp4,0,7,\nb.mp4,1 ; 0,,\n",
        'sep=;\r\nlabel;path;num_frames\r\n00;a b.mp4;007\r\n"1;0";b.mp4;0\r\n',
        "\n\npath,label,num_frames\n\na b.mp4,0,7\n\nb.mp4,1;0,0\n",
        "path\tlabel\tnum_frames\r\na b.mp4\t0\t7\r\nb.mp4\t1;0\t\r\n".encode("utf-16"),
    ],
)
def test_lists_of_spreadsheet_programs(tmp_path: Path, content: str | bytes) -> None:
    for name in ("list.csv", "list.txt"):
        path = write(tmp_path, content, name)
        assert rows(read_index(path)) == EXPECTED
        assert rows(read_index(path, format="csv")) == EXPECTED
    assert rows(read_index(write(tmp_path, content), format="csv")) == rows(VideoIndex.read(tmp_path / "list.csv"))
    assert [(record.path, record.labels) for record in read_table(tmp_path / "list.csv").records] == [
        (path, labels) for path, _, labels in EXPECTED
    ]


def test_names_below_a_header_of_semicolons(tmp_path: Path) -> None:
    path = write(tmp_path, "path;label\r\n1.mp4;walk\r\n2.mp4;1 finger\r\n", "list.csv")
    found = read_index(path)
    assert (found.class_names, rows(found)) == (("1 finger", "walk"), [("1.mp4", 0, (1,)), ("2.mp4", 0, (0,))])
    assert rows(read_index(path, format="semicolon")) == rows(found)


@pytest.mark.parametrize("end", ["\r", "\r\n"])
def test_lines_end_as_they_like(tmp_path: Path, end: str) -> None:
    for text in ("a,7,0\nb,9,1,0\n", "a 7 0\nb 9 1 0\n", "a;7;0\nb;9;1\n", "a;walk\nb;run\n"):
        plain = rows(read_index(write(tmp_path, text, "list.txt")))
        assert rows(read_index(write(tmp_path, text.replace("\n", end), "list.txt"))) == plain
    assert read_class_names(write(tmp_path, f"walk{end}run{end}", "classes.txt")).names == ("walk", "run")


def test_paths_from_windows(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for name in ("a.mp4", "b\\c.mp4"):
        (tmp_path / "clips" / name).touch()
    text = "path,label\nclips\\a.mp4,0\nclips/b\\c.mp4,0\nclips\\none.mp4,0\n"
    assert [path for path, _, _ in rows(read_index(write(tmp_path, text)))] == [
        "clips/a.mp4", "clips/b\\c.mp4", "clips\\none.mp4",
    ]  # fmt: skip
    assert rows(read_index(write(tmp_path, "clips\\a 9 0\n", "list.txt"))) == [("clips/a.mp4", 9, (0,))]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("path,label\na.mp4,0\nb.mp4,999999999\n", "line 3: label is '999999999'; expected less than 1000000"),
        ("path,label\na.mp4,0\nb.mp4,99999\n", "line 3: the label is 99999, but only 2 labels occur"),
        (f"path,label\na.mp4,{'9' * 5000}\n", "expected less than"),
        (f"path,label,num_frames\na.mp4,0,{'9' * 5000}\n", "line 2: num_frames is '999"),
        ("a.mp4 9 0\nb.mp4 9 999999999\n", "line 2: the label is '999999999'; expected less than 1000000"),
        ("a.mp4;0\nb.mp4;123456\n", "line 2: the label is 123456, but only 2 labels occur"),
        *((f"path,label\na.mp4,0\nb.mp4,{text}\n", f"line 3: label is '{text}'") for text in
          ("1e3", "+1", "-0", "1.5", "1_000", "١", "²", "nan")),
        ("a.mp4;0\nb.mp4;-1\n", "line 2: the label is '-1'"),
        ("path,label,label\na.mp4,0,1\n", "two columns are named 'label'"),
        ("path,label\n", "lists no video"),
        ("", "no column 'path'"),
        ('path,label\n"a.mp4,0\nb.mp4,1\n', "cannot be read as CSV"),
        (f"path,label\n{'a' * 200_000},0\n", "a line of 200003 characters"),
        (f"a 9 0\n{'b' * 200_000} 9 0\n", "line 2: the line has 200005 characters"),
        ("path,label\na\0.mp4,0\n", "NUL"),
        ("a\0.mp4 9 0\nb 9 0\n", "line 1: there is a NUL character"),
        ("path,label\na.mp4,0\n".encode("utf-16-le"), "UTF-16 without a byte-order mark"),
        ("path,label\ncafé.mp4,0\n".encode("latin-1"), "cannot be read as UTF-8 text"),
        (b"\xff\xfep\0a\0t", "cannot be read as UTF-16 text"),
        ("path,label\na/../b.mp4,0\n./b.mp4,1\n", "line 3: './b.mp4' is already on line 2"),
        ("video;class\na.mp4;walk\nb.mp4;run\n", "line 1: 'video;class' looks like a header"),
        ("Filename\tLabel\na.mp4\t1\nb.mp4\t0\n", "looks like a header"),
    ],
)  # fmt: skip
def test_lists_that_are_refused(tmp_path: Path, content: str | bytes, words: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(UserError) as caught:
        read_index(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_may_be_far_apart_where_the_number_of_classes_is_known(tmp_path: Path) -> None:
    path = write(tmp_path, "path,label\na.mp4,0\nb.mp4,99999\n")
    assert read_indices({"train": path}, num_classes=100_000)["train"][1].labels == (99_999,)
    many = "path,label\n" + "".join(f"{label}.mp4,{label}\n" for label in range(0, 100_000, 9))
    assert read_index(write(tmp_path, many)).num_classes == 99_999 + 1


ANNOTATED: dict[str, Any] = {"label": "run", "segment": [0, 1]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"database": {"a": {"annotations": None}}}, "no annotated video"),
        ({"database": {"a": {"annotations": "run"}}}, "entry"),
        ({"database": {"a": {"annotations": 5}}}, "entry"),
        ({"database": {"a": {"annotations": ["run"]}}}, "an annotation is 'run'"),
        ({"database": {"a": {"annotations": [{"segment": [0, 1]}]}}}, "an annotation is"),
        ({"database": {"a": {"annotations": [{"label": ["run"]}]}}}, "an annotation is"),
        ({"database": {"a": {"annotations": [{"label": {"x": 1}}]}}}, "an annotation is"),
        ({"database": {"a": {"annotations": [{"label": None}]}}}, "an annotation is"),
        ({"database": {"a": {"annotations": [{"label": "\ud800"}]}}}, "an annotation is"),
        ({"database": {"a": {"annotations": [{"label": "r\0n"}]}}}, "an annotation is"),
        ({"database": {"a": {"annotations": [ANNOTATED], "subset": ["training"]}}}, "the subset is ['training']"),
        ({"database": {"a": {"annotations": [ANNOTATED], "subset": 3}}}, "the subset is 3"),
        ({"database": {"a\0": {"annotations": [ANNOTATED]}}}, "contains a NUL character"),
        ({"database": {"\ud800": {"annotations": [ANNOTATED]}}}, "that UTF-8 cannot write"),
        ({"database": {"": {"annotations": [ANNOTATED]}}}, "the path is empty"),
        ({"database": [{"annotations": [ANNOTATED]}]}, "JSON of another shape"),
        ({"database": 7}, "JSON of another shape"),
        ([{"id": None, "template": "x"}], "the id is None"),
        ([{"id": "1", "template": None}], "the template None"),
        ([{"id": "1", "template": ["x"]}], "the template ['x']"),
        ([{"id": {"x": 1}, "template": "x"}], "the id is {'x': 1}"),
        ([{"id": "\udcff", "template": "x"}], "that UTF-8 cannot write"),
        ([], "lists no video"),
        ("[" * 100_000, "nested too deeply"),
        ('{"database": {"a": ' + "9" * 5000 + "}}", "no valid JSON"),
        ('{"database": {"a": Infinity}}', "JSON of another shape"),
    ],
)
def test_odd_annotations(tmp_path: Path, content: Any, words: str) -> None:
    path = write(tmp_path, content if isinstance(content, str) else json.dumps(content), "list.json")
    with pytest.raises(UserError) as caught:
        read_index(path)
    assert words.replace("entry", "the annotations are") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    ['{"a": Infinity}', '{"a": "0", "b": "0"}', '[["a"]]', '{"a": null}', "[" * 99_999, '["\\ud800"]', '["a\\nb"]',
     "\0", "[1" + "0" * 5000 + "]", '{"a": ' + "9" * 5000 + "}", "\n" * 2_000_000 + "x"],
)  # fmt: skip
def test_odd_files_of_class_names(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError, match=r"classes\.txt"):
        read_class_names(write(tmp_path, content, "classes.txt"))


def test_damaged_archives_and_what_is_no_file(tmp_path: Path) -> None:
    whole = gzip.compress(b"path,label\n" + b"a.mp4,0\n" * 1)
    for number, content in enumerate((whole[:-6], whole[:12] + b"xxxx" + whole[16:], b"path,label\na,0\n", b"")):
        with pytest.raises(UserError):
            read_index(write(tmp_path, content, f"{number}.csv.gz"))
    with pytest.raises(UserError, match="cannot be read"):
        read_index(tmp_path / ("n" * 300))
    for name in ("/dev/null", "/dev/zero"):
        if Path(name).exists():
            with pytest.raises(UserError, match="no regular file"):
                read_index(Path(name))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("list.csv", "classes.txt", "other_boxes.csv"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="no regular file"):
        read_index(tmp_path / "list.csv")
    with pytest.raises(UserError, match="no regular file"):
        read_class_names(tmp_path / "classes.txt")
    index = read_index(write(tmp_path, "path,label\na.mp4,0\n", "other.csv"))  # pipes beside it are no files of its
    assert (index.class_names, index.boxes_file) == (None, None)


def test_names_that_no_disk_takes(tmp_path: Path) -> None:
    long, loop = "n" * 300 + ".mp4", tmp_path / "loop"
    loop.symlink_to(loop)
    index = read_index(write(tmp_path, f"path,label\n{long},0\nloop,0\n{'d/' * 3000}x,0\n"))
    assert len(missing(index)) == 3
    assert len(read_index(write(tmp_path, f"{long} 9 0\nloop 9 0\n{'d/' * 3000}x 9 0\n", "list.txt"))) == 3


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ("a.mp4,1000000000,0,0,1,1\n", "line 2: frame 1000000000"),
        (f"a.mp4,{'9' * 5000},0,0,1,1\n", "line 2: frame is '999"),
        ("a.mp4,99999999,0,0,1,1\nb.mp4,99999999,0,0,1,1\n", "200000000 frames in all"),
        ("a.mp4,0,inf,0,1,1\n", "line 2: top is 'inf'"),
        ("a.mp4,0,0,0,1\n", "line 2: not 6 values"),
    ],
)
def test_boxes_beyond_all_videos(tmp_path: Path, boxes: str, words: str) -> None:
    write(tmp_path, f"path,frame,top,left,height,width\n{boxes}", "list_boxes.csv")
    index = read_index(write(tmp_path, "path,label\na.mp4,0\nb.mp4,0\n"))
    with pytest.raises(UserError) as caught:
        read_boxes(index)
    assert words in str(caught.value)
    assert "list_boxes.csv" in str(caught.value)


VALID = [
    b"path,label,num_frames\na b.mp4,0,7\nb.mp4,1;0,\n", b"path;label\na.mp4;walk\nb.mp4;run\n",
    b"a,7,0\nb,9,1,0\n", b"a b 7 0\nb 9 1 0\n", b"a;7;0\nb;9;1\n", b"a.mp4;walk\nb.mp4;run\n",
    b'{"database": {"a": {"subset": "training", "annotations": [{"label": "run", "segment": [0, 1.5]}]}}}',
    b'[{"id": "7", "template": "Putting [something] on [something]"}]',
    "path\tlabel\na.mp4\t0\n".encode("utf-16"), b"path,frame,top,left,height,width\na.mp4,2,1.5,2,20,30\n",
    b'{"run": "0", "walk": 1}', b"0,run\n1,walk\n", gzip.compress(b"path,label\na.mp4,0\n"),
]  # fmt: skip
PIECES = [
    b"\0", b"\r", b"\n", b'"', b";", b",", b"\t", b"9" * 30, b"-1", b"null", b"[", b"{", b"\\ud800", b"\xff\xfe",
    b"\xe9", b"label", b"path", b"NaN", b"1e9", b"/", b"..", b"\\", b"true", b'"label"', b"\x1b[31m",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid list with a few bytes changed, cut out, put in or said twice."""
    content = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        what = draw(st.sampled_from(["piece", "byte", "cut", "twice"]))
        if what == "piece":
            content[at:at] = draw(st.sampled_from(PIECES))
        elif what == "byte":
            content[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif what == "cut":
            del content[at : at + draw(st.integers(1, 20))]
        else:
            content[at:at] = content[at : at + draw(st.integers(1, 30))]
    return bytes(content)


FORMATS: list[ListFormat] = [
    "auto", "csv", "comma", "space", "semicolon", "activitynet_json", "something_json",
]  # fmt: skip


@settings(max_examples=400)
@given(content=st.one_of(mutated(), mutated(), st.binary(max_size=60)), format=st.sampled_from(FORMATS), data=st.data())
def test_any_bytes_end_in_videos_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, format: ListFormat, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "hostile"
    folder.mkdir(exist_ok=True)
    packed = content.startswith(b"\x1f\x8b")
    path = write(folder, content, "list.csv.gz" if packed else data.draw(st.sampled_from(["list.csv", "list.txt"])))
    other = write(folder, data.draw(st.sampled_from(VALID[:-1])), "other.csv")
    (folder / "classes.txt").unlink(missing_ok=True)
    if data.draw(st.booleans()):
        write(folder, data.draw(st.one_of(st.just(b"walk\nrun\n"), mutated())), "classes.txt")
    write(folder, data.draw(st.one_of(st.just(VALID[9]), mutated())), f"{path.stem}_boxes.csv")

    def boxes() -> None:
        read_boxes(read_index(path, format=format))

    sentences = []
    for read in (
        lambda: rows(read_index(path, format=format)),
        lambda: [str(record) for _, record in read_list(path, format=format).lines],
        lambda: [index.hash() for index in read_indices({"train": path, "val": other}, format=format).values()],
        lambda: [missing(index) for index in read_indices({"train": other, "val": path}).values()],
        lambda: read_table(path),
        boxes,
    ):
        try:
            read()  # type: ignore[no-untyped-call]
        except UserError as error:
            sentences.append(str(error))
    assert [sentence for sentence in sentences if "\n" in sentence] == []
