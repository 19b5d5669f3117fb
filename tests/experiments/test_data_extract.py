"""``adafocus data extract``: the frames of the videos, whole or absent, and a list that trains like the videos'."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from adafocus_rl.data import extract as module
from adafocus_rl.data.decode import decode_frames
from adafocus_rl.data.encode import write_video
from adafocus_rl.data.extract import ExtractJob, extract_video, folder_names
from adafocus_rl.data.index import VideoIndex, read_boxes

Cli = Any


def frames(seed: int, count: int = 6) -> NDArray[np.uint8]:
    """(T, 48, 64, 3) smooth pictures, another for each seed and frame."""
    draw = np.random.default_rng(seed)
    small = draw.integers(0, 256, (count, 3, 4, 3), dtype=np.uint8)
    return np.stack([np.array(Image.fromarray(each).resize((64, 48), Image.Resampling.BICUBIC)) for each in small])


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Three videos, one of them a folder, with classes and boxes."""
    root = tmp_path / "videos"
    (root / "deep").mkdir(parents=True)
    write_video(root / "a.mp4", frames(1))
    write_video(root / "deep" / "b.mp4", frames(2, 9))
    (root / "c").mkdir()
    for number, frame in enumerate(frames(3, 4)):
        Image.fromarray(frame).save(root / "c" / f"{number}.png")
    (root / "train.csv").write_text("path,label,num_frames,scene\na.mp4,0,,x\ndeep/b.mp4,1,7,y\nc,0;1,,z\n")
    (root / "train_boxes.csv").write_text(
        "path,frame,top,left,height,width\na.mp4,2,8,16,24,32\ndeep/b.mp4,6,0,0,4,4\n"
    )
    (root / "classes.txt").write_text("run\njump\n")
    return root / "train.csv"


def test_folders_hold_the_frames_of_the_videos(cli: Cli, listed: Path, tmp_path: Path) -> None:
    out = tmp_path / "frames"
    done = cli("data", "extract", listed, "--out", out, "--short", "24", "--quality", "100", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out) == {
        "list": str(out / "train.csv"), "template": "image_{:05d}.jpg", "extracted": 3, "kept": 0, "frames": 6 + 7 + 4,
        "failed": [],
    }  # fmt: skip
    index = VideoIndex.read(out / "train.csv")
    assert [(record.path, record.video_frames, record.labels, dict(record.extra)) for record in index] == [
        ("a", 6, (0,), {"scene": "x"}), ("deep/b", 7, (1,), {"scene": "y"}), ("c", 4, (0, 1), {"scene": "z"}),
    ]  # fmt: skip
    assert index.class_names == ("run", "jump")
    for i, source in enumerate(("a.mp4", "deep/b.mp4", "c")):
        numbers = range(index[i].video_frames)
        small = decode_frames(index.full_path(i), numbers)
        assert small.shape[1:] == (24, 32, 3)
        whole = decode_frames(listed.parent / source, numbers).reshape(-1, 24, 2, 32, 2, 3).mean(axis=(2, 4))
        assert np.abs(small - whole).mean() < 4  # and not a neighbour's, which differs by far more
        assert np.abs(small[1:] - whole[:-1]).mean() > 20
    boxes = read_boxes(index)
    assert boxes["a"][2].tolist() == [4, 8, 12, 16]
    assert boxes["deep/b"][6].tolist() == [0, 0, 2, 2]
    assert cli("data", "check", out / "train.csv", "--videos", "0", "--workers", "0").code == 0


def test_what_is_whole_is_kept_and_what_is_not_is_done_again(cli: Cli, listed: Path, tmp_path: Path) -> None:
    out = tmp_path / "frames"
    command = ["data", "extract", listed, "--out", out, "--workers", "0", "--json"]

    def extracted(*more: str) -> int:
        done = cli(*command, *more)
        assert done.code == 0, done.err
        return int(json.loads(done.out)["extracted"])

    assert extracted() == 3
    before = (out / "a" / "image_00001.jpg").stat().st_mtime_ns
    assert extracted() == 0
    assert (out / "a" / "image_00001.jpg").stat().st_mtime_ns == before
    (out / "a" / "image_00003.jpg").unlink()
    assert extracted() == 1
    (out / "deep" / "b" / "image_00002.jpg").write_bytes(b"cut short")
    assert extracted() == 1
    (out / "c" / "image_00009.jpg").write_bytes(b"surplus")
    assert extracted() == 1
    assert extracted("--quality", "50") == 3
    assert extracted("--quality", "50") == 0
    manifest = out / "a" / "frames.json"
    for hostile in (b"[" * 100_000, b"\xff", b"3", b'{"frames": ' + b"9" * 5000 + b"}"):
        manifest.write_bytes(hostile)
        assert extracted("--quality", "50") == 1
    whole = json.loads(manifest.read_text())
    for change in ({"frames": 10**12}, {"frames": True}, {"scale": "x"}, {"scale": -1.0}, {"bytes": []}):
        manifest.write_text(json.dumps(whole | change))
        assert extracted("--quality", "50") == 1
    write_video(listed.parent / "a.mp4", frames(4, 5))
    assert extracted("--quality", "50") == 1
    assert len(list((out / "a").glob("*.jpg"))) == 5


def test_an_interruption_leaves_no_folder_of_the_name(listed: Path, tmp_path: Path, monkeypatch: Any) -> None:
    job = ExtractJob(source=listed.parent / "a.mp4", out=tmp_path / "frames" / "a")
    resize = module._resize
    left = iter(range(3))

    def dies(frame: NDArray[np.uint8], short: int) -> Any:
        next(left)
        return resize(frame, short)

    monkeypatch.setattr(module, "_resize", dies)
    with pytest.raises(RuntimeError):  # StopIteration out of a generator's consumer
        _extract(job)
    assert not job.out.exists()
    # And where not even that is tidied up, as after a loss of power:
    (job.out.parent / ".a.partial").mkdir()
    (job.out.parent / ".a.partial" / "image_00001.jpg").write_bytes(b"x")
    monkeypatch.undo()
    assert extract_video(job).fresh
    assert [path.name for path in sorted(job.out.parent.iterdir())] == ["a"]
    assert len(list(job.out.glob("*.jpg"))) == 6


def _extract(job: ExtractJob) -> None:
    try:
        extract_video(job)
    except StopIteration as error:
        raise RuntimeError from error


def test_bad_videos_are_named_and_left_out(cli: Cli, listed: Path, tmp_path: Path) -> None:
    (listed.parent / "a.mp4").write_text("I am no video")
    listed.write_text(listed.read_text().replace("deep/b.mp4,1,7", "deep/b.mp4,1,12"))
    (listed.parent / "train_boxes.csv").unlink()
    out = tmp_path / "frames"
    (out / "c").mkdir(parents=True)
    (out / "c" / "mine.txt").write_text("not yours")
    done = cli("data", "extract", listed, "--out", out)
    assert done.code == 2
    assert "left out a.mp4: 13 bytes, but not a video" in done.err
    assert "left out deep/b.mp4: the list says 12 frames, but only 9 decode" in done.err
    assert "was not extracted by this command" in done.err
    assert (out / "c" / "mine.txt").read_text() == "not yours"
    assert not (out / "deep" / "b").exists()
    (out / "c" / "mine.txt").unlink()
    (out / "c").rmdir()
    done = cli("data", "extract", listed, "--out", out)
    assert done.code == 1
    assert [record.path for record in VideoIndex.read(out / "train.csv")] == ["c"]


def test_a_name_that_no_file_can_have_costs_one_video(cli: Cli, listed: Path, tmp_path: Path) -> None:
    listed.write_text(listed.read_text() + f"{'n' * 5000}.mp4,0,,w\n")
    done = cli("data", "check", listed, "--videos", "0", "--workers", "0", "--json")
    assert done.code == 1
    (fault,) = [one for one in json.loads(done.out)["faults"] if one["kind"] == "missing"]
    assert "correct its name" in fault["text"]
    done = cli("data", "extract", listed, "--out", tmp_path / "frames", "--workers", "0", "--json")
    assert done.code == 1
    (failed,) = json.loads(done.out)["failed"]
    assert failed["reason"].startswith("it cannot be read")


def test_mistakes(cli: Cli, listed: Path, tmp_path: Path) -> None:
    for arguments, words in (
        (["--quality", "0", "--out", tmp_path / "x"], "--quality is 0"),
        (["--short", "-1", "--out", tmp_path / "x"], "cannot be negative"),
        (["--out", listed.parent], "would be overwritten"),
        ([], "--out"),
    ):
        done = cli("data", "extract", listed, *arguments)
        assert done.code == 2
        assert words in done.err


def test_names_of_folders() -> None:
    assert folder_names(["a.mp4", "b/c.d.avi", "e"]) == ["a", "b/c.d", "e"]
    assert folder_names(["a.mp4", "a.avi", "A"]) == ["a.mp4", "a.avi", "A"]
    assert folder_names(["/data/run/a.mp4", "../../videos/b.mp4"]) == ["run/a", "videos/b"]


def test_lists_of_names_in_one_folder_have_one_order(cli: Cli, listed: Path, tmp_path: Path) -> None:
    """The second list lacks the class that comes first: its labels are those of the first list all the same."""
    root, out = listed.parent, tmp_path / "frames"
    (root / "classes.txt").unlink()
    (root / "first.txt").write_text("a.mp4;run\nc;jump\n")
    (root / "second.txt").write_text("deep/b.mp4;run\n")
    for name in ("first", "second"):
        done = cli("data", "extract", root / f"{name}.txt", "--out", out, "--workers", "0")
        assert done.code == 0, done.err
    assert [record.labels for record in VideoIndex.read(out / "first.csv")] == [(1,), (0,)]
    assert [record.labels for record in VideoIndex.read(out / "second.csv")] == [(1,)]
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    (root / "third.txt").write_text("deep/b.mp4;swim\n")
    (root / "other.txt").write_text("run\njump\n")
    for arguments in ([root / "third.txt"], [listed, "--classes", root / "other.txt"]):
        done = cli("data", "extract", *arguments, "--out", out, "--workers", "0")
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert str(out / "classes.txt") in done.err
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_a_list_and_its_boxes_are_replaced_together(
    cli: Cli, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "frames"
    assert cli("data", "extract", listed, "--out", out).code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert sorted(before) == ["classes.txt", "train.csv", "train_boxes.csv"]
    listed.write_text(listed.read_text() + "more.mp4,0,,\n")
    write_video(listed.with_name("more.mp4"), frames(4))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(out / "train_boxes.csv"))

    with monkeypatch.context() as patch:
        patch.setattr("adafocus_rl.files.os.fsync", full)
        done = cli("data", "extract", listed, "--out", out, "--workers", "0")
    assert done.code == 2
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    listed.with_name("train_boxes.csv").write_text("path,frame,top,left,height,width\na.mp4,1000000000,0,0,1,1\n")
    done = cli("data", "extract", listed, "--out", tmp_path / "elsewhere")
    assert done.code == 2
    assert "line 2: frame 1000000000" in done.err
    assert not (tmp_path / "elsewhere").exists()
