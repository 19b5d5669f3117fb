"""What is written is on the disk when a function returns, and a folder is complete or absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adafocus_rl.files import append_line, write_text
from adafocus_rl.folders import first_folder, make_folders, replacing_folder, sync_tree


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths that are flushed, in order, as far as the system can tell which they are."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    found: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda handle: found.append(Path(f"/proc/self/fd/{handle}").readlink()))
    return found


def test_the_names_of_new_folders_are_flushed(tmp_path: Path, flushed: list[Path]) -> None:
    make_folders(tmp_path / "a" / "b")
    assert sorted(flushed) == [tmp_path, tmp_path / "a"]
    flushed.clear()
    make_folders(tmp_path / "a" / "b")
    assert flushed == []


def test_a_written_file_is_flushed_before_its_name(tmp_path: Path, flushed: list[Path]) -> None:
    write_text(tmp_path / "new" / "a.txt", "text")
    assert flushed == [tmp_path, tmp_path / "new" / ".a.txt.part", tmp_path / "new"]


def test_an_appended_line_is_flushed(tmp_path: Path, flushed: list[Path]) -> None:
    path = tmp_path / "log.jsonl"
    append_line(path, "first")
    assert flushed == [path, tmp_path]
    append_line(path, "second")
    assert flushed == [path, tmp_path, path]
    assert path.read_text() == "first\nsecond\n"


def test_a_line_that_cannot_be_flushed_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    append_line(path, "first")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        append_line(path, "second")
    assert path.read_text() == "first\n"


def test_a_whole_tree_is_flushed(tmp_path: Path, flushed: list[Path]) -> None:
    for name in ("a.txt", "b/c.txt", "b/d/e.txt"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o400)  # a file that may only be read, too
    sync_tree(tmp_path / "tree")
    assert sorted(flushed) == sorted(
        tmp_path / "tree" / name for name in ("", "a.txt", "b", "b/c.txt", "b/d", "b/d/e.txt")
    )


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_gets_its_name_when_it_is_complete(tmp_path: Path, flushed: list[Path], there: bool) -> None:
    folder = tmp_path / "above" / "folder"
    left = tmp_path / "above" / ".folder.part"
    left.mkdir(parents=True)
    (left / "of a killed process").touch()
    if there:
        folder.mkdir()
    with replacing_folder(folder) as temporary:
        (temporary / "a.txt").write_text("text")
        assert not folder.exists() or not any(folder.iterdir())
    assert [path.name for path in folder.iterdir()] == ["a.txt"]
    assert [path.name for path in folder.parent.iterdir()] == ["folder"]
    assert flushed == [left / "a.txt", left, folder.parent]


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> None:
        with replacing_folder(tmp_path / "folder") as temporary:
            (temporary / "a.txt").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        failing()
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_that_write_a_folder_wins(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    with first_folder(folder) as slow:
        with first_folder(folder) as fast:
            (fast / "who").write_text("fast")
        (slow / "who").write_text("slow")
    assert (folder / "who").read_text() == "fast"
    assert [*folder.parent.iterdir()] == [folder]


def test_a_folder_that_could_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    def write(folder: Path, *, failing: bool) -> None:
        with first_folder(folder) as part:
            (part / "half").write_text("")
            if failing:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "folder", failing=True)
    assert [*tmp_path.iterdir()] == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write(tmp_path / "file", failing=False)
    assert [*tmp_path.iterdir()] == [tmp_path / "file"]
