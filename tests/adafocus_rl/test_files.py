"""Files are read within limits, and written whole or not at all."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path
from typing import Any

import pytest

from adafocus_rl.errors import UserError
from adafocus_rl.files import read_bytes, read_json, read_text, replacing, write_json, write_text


def test_text_and_json_come_back_as_they_were_written(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.txt", "λ\r\nb")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "λ\r\nb".encode()
    assert read_text(tmp_path / "new" / "a.txt", "text") == "λ\r\nb"
    write_json(tmp_path / "a.json", {"λ": [1, None]})
    assert read_json(tmp_path / "a.json", "document") == {"λ": [1, None]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "new"]


def test_packed_text_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "list.csv.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbfpath,label\n", mtime=0))
    assert read_text(path, "list file") == "path,label\n"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv.gz", gzip.compress(b"path,label\n" * 9, mtime=0)[:-12], "cannot be read"),
        ("a.csv.gz", gzip.compress(b"path,label\n" * 9, mtime=0)[:14] + b"\xff" * 40, "cannot be read"),
        ("a.csv.gz", b"path,label\n", "cannot be read"),
        ("a.csv.gz", gzip.compress(b"x" * 5000, mtime=0), "more than 1000 bytes"),
        ("a.csv", b"x" * 1001, "more than 1000 bytes"),
        ("a.csv", b"path\xe9", "UTF-8"),
        ("a.json", b"[" * 900, "no valid JSON"),
        ("a.json", b"9" * 900 + b"]", "no valid JSON"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    read = read_json if name.endswith("json") else read_text
    with pytest.raises(UserError, match=sentence) as raised:
        read(path, "list file", limit=1000)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000])
def test_json_that_python_refuses_to_take_in(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"nested too deeply|no valid JSON"):
        read_json(tmp_path / "a.json", "record")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list.csv")
    with pytest.raises(UserError, match="no regular file"):
        read_bytes(tmp_path / "list.csv", "list file")


@pytest.mark.parametrize("name", ["", "none.csv", "a\0b.csv", "\ud800.csv", "x" * 5000])
def test_no_such_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"list file"):
        read_bytes(tmp_path / name, "list file")


@pytest.mark.parametrize("name", [None, ".a.txt.part", "file:.a.txt.part"])
def test_a_full_disk_that_names_what_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    monkeypatch.chdir(tmp_path)

    def full() -> None:
        with replacing("a.txt"):
            raise OSError(28, "No space left on device", name)

    with pytest.raises(OSError, match="No space left") as raised:
        full()
    assert raised.value.filename == "a.txt"


@pytest.mark.parametrize("name", ["a.txt", "x" * 255])
def test_an_interrupted_write_leaves_the_file_that_was_there(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_text(path, "before")

    def interrupted() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    def full() -> None:
        with replacing(tmp_path / "a.txt"):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left on device") as raised:
        full()
    assert raised.value.filename == str(tmp_path / "a.txt")


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_text(tmp_path / "ours", "text")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_file_that_has_nothing_to_say_yet_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel's log: a regular file by its kind, which does without waiting what a pipe would do."""

    class Silent(io.FileIO):
        def read(self, size: int | None = -1) -> Any:
            return None

    (tmp_path / "log").write_text("x")
    monkeypatch.setattr("adafocus_rl.files.os.fdopen", Silent)
    with pytest.raises(UserError, match="log cannot be read"):
        read_bytes(tmp_path / "log", "list file")
