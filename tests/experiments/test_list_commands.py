"""Lists that strangers hand us, through the program as it is called: it must end, soon and in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adafocus_rl.data.index import missing
from adafocus_rl.data.read import read_index


def adafocus(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the program in a folder; a process that waits for ever is a failure."""
    command = [sys.executable, "-m", "adafocus_rl", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.skipif(sys.platform == "win32", reason="no colons in names there")
def test_a_path_in_a_list_is_a_path(tmp_path: Path) -> None:
    """Not a URL, whatever it looks like, and found in the list's own folder."""
    names = ["12:30 talk.mp4", "concat:a|b.mp4", "file:c.mp4", "http:/127.0.0.1/d.mp4"]
    for folder in ("talk", "walk"):
        for name in names:
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).write_bytes(b"x")
    done = adafocus(tmp_path, "data", "index", ".")
    assert done.returncode == 0, done.stderr
    found = [read_index(tmp_path / f"{split}.csv") for split in ("train", "val")]
    listed = sorted(record.path for index in found for record in index)
    assert listed == sorted(f"{folder}/{name}" for folder in ("talk", "walk") for name in names)
    assert [missing(index) for index in found] == [[], []]
    rows = "".join(f"{name};talk\r\n" for name in [*names[:3], "http:\\127.0.0.1\\d.mp4"])
    (tmp_path / "talk" / "list.csv").write_text(f"path;label\r\n{rows}", newline="")
    assert [record.path for record in read_index(tmp_path / "talk" / "list.csv")] == names


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "far.csv").write_text("path,label\na.mp4,0\nb.mp4,999999999\n")
    (tmp_path / "names.json").write_text('{"database": {"\\ud800": {"annotations": [{"label": "x"}]}}}')
    (tmp_path / "half.csv.gz").write_bytes(b"\x1f\x8b\x08\x00 and no more")
    for arguments, words in (
        (["data", "check", "pipe.csv"], "no regular file"),
        (["data", "index", "pipe.csv", "--out", "out"], "no regular file"),
        (["data", "extract", "far.csv", "--out", "out"], "far.csv, line 3: label is '999999999'"),
        (["data", "extract", "names.json", "--out", "out"], "line 1: the path"),
        (["train", "custom", "--data.train_list=half.csv.gz", "--data.val_list=far.csv"], "half.csv.gz cannot be read"),
    ):
        done = adafocus(tmp_path, *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert done.stderr.startswith("adafocus: ")
        assert words in done.stderr
    assert not (tmp_path / "out").exists()
