"""The list file: read, written, hashed, checked, and refused with the line that is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adafocus_rl.data.index import VideoIndex, VideoRecord, missing, read_boxes
from adafocus_rl.errors import UserError


def _write(tmp_path: Path, text: str, name: str = "list.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_read_keeps_every_column(tmp_path: Path) -> None:
    path = _write(tmp_path, 'group,path,label,num_frames\n7,"a, b.mp4",3,25\n8,sub/c.mp4,1;4;1,\n9,/abs/d.avi,0,0\n')
    index = VideoIndex.read(path)
    assert index.records == [
        VideoRecord(path="a, b.mp4", video_frames=25, labels=(3,), extra={"group": "7"}),
        VideoRecord(path="sub/c.mp4", video_frames=0, labels=(1, 4), extra={"group": "8"}),
        VideoRecord(path="/abs/d.avi", video_frames=0, labels=(0,), extra={"group": "9"}),
    ]
    assert len(index) == 3
    assert index[1] is index.records[1]
    assert index.num_classes == 5
    assert index.class_names is None
    assert index.full_path(1) == tmp_path / "sub" / "c.mp4"
    assert index.full_path(2) == Path("/abs/d.avi")
    assert VideoIndex.read(path, root=Path("/data")).full_path(0) == Path("/data/a, b.mp4")


def test_spreadsheet_exports_are_read(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(b"\xef\xbb\xbfpath, label\r\na.mp4,2\r\n")
    assert VideoIndex.read(path).records == [VideoRecord(path="a.mp4", labels=(2,))]


def test_class_names_come_from_beside_the_list_or_from_a_named_file(tmp_path: Path) -> None:
    path = _write(tmp_path, "path,label\na.mp4,0\n")
    _write(tmp_path, "run\njump high\n", "classes.txt")
    other = _write(tmp_path, "a\nb\nc", "other.txt")
    assert VideoIndex.read(path).class_names == ("run", "jump high")
    assert VideoIndex.read(path).num_classes == 2
    assert VideoIndex.read(path, classes=other).class_names == ("a", "b", "c")
    with pytest.raises(UserError, match=r"no file of class names .*none\.txt"):
        VideoIndex.read(path, classes=tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no column 'path' and no column 'label'"),
        ("path,class\na.mp4,1\n", "line 1: no column 'label'"),
        ("path,label\n", "lists no video"),
        ("path,label\na.mp4,1\nb.mp4,fight\n", "line 3: label is 'fight'"),
        ("path,label\na.mp4,\n", "line 2: label is ''"),
        ("path,label\na.mp4,-1\n", "line 2: label is '-1'"),
        ("path,label\na.mp4,1.0\n", "line 2: label is '1.0'"),
        ("path,label\na.mp4,1;x\n", "line 2: label is 'x'"),
        ("path,label,num_frames\na.mp4,1,-3\n", "line 2: num_frames is '-3'"),
        ("path,label\na.mp4,1\nb.mp4,1\na.mp4,2\n", "line 4: 'a.mp4' is already on line 2"),
        ("path,label\n,1\n", "line 2: the path is empty"),
        ("path,label\na, b.mp4,1\n", "line 2: not 2 values"),
        ("path,label\na.mp4\n", "line 2: not 2 values"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        VideoIndex.read(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_no_list_and_no_text_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no list file"):
        VideoIndex.read(tmp_path / "none.csv")
    (tmp_path / "video.mp4").write_bytes(bytes(range(256)))
    with pytest.raises(UserError, match="cannot be read as UTF-8 text"):
        VideoIndex.read(tmp_path / "video.mp4")
    with pytest.raises(UserError, match=r"list file .* cannot be read"):
        VideoIndex.read(tmp_path)


_TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12)
_RECORDS = st.lists(
    st.builds(
        VideoRecord,
        path=_TEXT.map(str.strip).filter(bool),
        video_frames=st.integers(0, 10**6),
        labels=st.lists(st.integers(0, 500), min_size=1, max_size=3, unique=True).map(tuple),
        extra=st.fixed_dictionaries({"group": _TEXT}),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda record: record.path,
)


@given(records=_RECORDS)
def test_write_and_read_are_inverse(tmp_path_factory: pytest.TempPathFactory, records: list[VideoRecord]) -> None:
    path = tmp_path_factory.mktemp("lists") / "list.csv"
    index = VideoIndex(records=records, root=path.parent)
    index.write(path)
    again = VideoIndex.read(path)
    assert again.records == records
    assert again.hash() == index.hash()


def test_hash_sees_content_and_order_and_not_the_place(tmp_path: Path) -> None:
    a = VideoRecord(path="a.mp4", video_frames=3, labels=(1,))
    changed = [
        VideoRecord(path="b.mp4", video_frames=3, labels=(1,)),
        VideoRecord(path="a.mp4", video_frames=4, labels=(1,)),
        VideoRecord(path="a.mp4", video_frames=3, labels=(1, 2)),
        VideoRecord(path="a.mp4", video_frames=3, labels=(1,), extra={"fold": "0"}),
    ]
    hashes = [VideoIndex(records=[record], root=tmp_path).hash() for record in [a, *changed]]
    assert len(set(hashes)) == 5
    assert VideoIndex(records=[a], root=Path("/elsewhere")).hash() == hashes[0]
    two = VideoIndex(records=[a, changed[0]], root=tmp_path)
    assert two.hash() != two.select([1, 0]).hash()
    assert two.select([0]).hash() == hashes[0]


def test_missing_names_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "good.mp4").write_bytes(b"x")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "bare").mkdir()
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "1.JPG").write_bytes(b"x")
    names = ["good.mp4", "empty.mp4", "bare", "frames", "gone.mp4"]
    index = VideoIndex(records=[VideoRecord(path=name, labels=(0,)) for name in names], root=tmp_path)
    assert missing(index) == [
        ("empty.mp4", "the file is empty (0 bytes)"),
        ("bare", "the folder holds no .jpg or .png image"),
        ("gone.mp4", "no such file or folder"),
    ]


def test_boxes_lie_beside_the_list(tmp_path: Path) -> None:
    path = _write(tmp_path, "path,label,num_frames\na.mp4,0,3\nb.mp4,0,\nc.mp4,0,2\n")
    assert read_boxes(VideoIndex.read(path)) == {}
    _write(
        tmp_path,
        "path,frame,top,left,height,width\na.mp4,2,1.5,2,20,30\nb.mp4,1,0,0,4,4\nb.mp4,3,1,1,4,4\n",
        "list_boxes.csv",
    )
    index = VideoIndex.read(path)
    assert index.boxes_file == tmp_path / "list_boxes.csv"
    boxes = read_boxes(index)
    nan = np.full(4, np.nan)
    np.testing.assert_array_equal(boxes["a.mp4"], [nan, nan, [1.5, 2, 20, 30]])
    np.testing.assert_array_equal(boxes["b.mp4"], [nan, [0, 0, 4, 4], nan, [1, 1, 4, 4]])
    np.testing.assert_array_equal(boxes["c.mp4"], [nan, nan])
    assert list(read_boxes(index.select([2]))) == ["c.mp4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,frame\n", "no column 'top'"),
        (
            "path,frame,top,left,height,width\na.mp4,3,0,0,1,1\n",
            "line 2: frame 3 of 'a.mp4', which has 3 frames",
        ),
        ("path,frame,top,left,height,width\na.mp4,0,x,0,1,1\n", "line 2: top is 'x'"),
        ("path,frame,top,left,height,width\na.mp4,0,0,nan,1,1\n", "line 2: left is 'nan'"),
        ("path,frame,top,left,height,width\na.mp4,first,0,0,1,1\n", "line 2: frame is 'first'"),
    ],
)
def test_mistakes_in_boxes_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = _write(tmp_path, "path,label,num_frames\na.mp4,0,3\n")
    _write(tmp_path, text, "list_boxes.csv")
    with pytest.raises(UserError) as caught:
        read_boxes(VideoIndex.read(path))
    assert message in str(caught.value)


def test_groups_are_those_of_the_list() -> None:
    def index(*groups: str) -> VideoIndex:
        records = [VideoRecord(path="x", labels=(0,), extra={"group": group} if group else {}) for group in groups]
        return VideoIndex(records=records, root=Path())

    assert index("a", "b", "a").groups([2, 1]) == ["a", "b"]
    assert index("a", "", "a").groups([0, 1]) is None
    assert index("a", "", "a").groups([0, 2]) == ["a", "a"]
