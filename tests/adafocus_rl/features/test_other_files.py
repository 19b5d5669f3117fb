"""In a shared store, a table of other files of the same names is refused; that of moved files is used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.data.encode import write_video
from adafocus_rl.errors import UserError
from adafocus_rl.features import TableStore, build_bank, other_files
from adafocus_rl.models.recognizer import Recognizer

Build = Callable[..., int]


@pytest.fixture
def copy(own_list: Path, tmp_path: Path) -> Path:
    """A copy of the folder ``videos`` that keeps the times of its files but for fractions of a second."""
    folder = Path(shutil.copytree(own_list.parent, tmp_path / "copy"))
    for path in folder.iterdir():
        os.utime(path, ns=(0, path.stat().st_mtime_ns // 10**9 * 10**9))
    return folder


@pytest.fixture
def build(
    own_list: Path,
    copy: Path,
    tmp_path: Path,
    make_dataset: Callable[..., ClipDataset],
    make_recognizer: Callable[..., Recognizer],
    monkeypatch: pytest.MonkeyPatch,
) -> Build:
    """Builds the tables of a folder; those of ``videos`` are built."""

    def build(folder: Path, **options: bool) -> int:
        """Return the number of videos that were decoded."""
        decoded: list[int] = []
        load = ClipDataset.__getitem__
        with monkeypatch.context() as patch:
            patch.setattr(ClipDataset, "__getitem__", lambda own, i: decoded.append(i) or load(own, i))
            store, dataset = TableStore(tmp_path / "store", shared=True), make_dataset(folder / "list.csv")
            build_bank(store, make_recognizer(), dataset, device=torch.device("cpu"), shard_videos=4, **options)
        return len(decoded)

    assert build(own_list.parent) == 6
    return build


def _encode_again(path: Path) -> None:
    before = path.stat()
    write_video(path, np.full((9, 48, 48, 3), 77, dtype=np.uint8))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_moved_files_are_the_same(build: Build, copy: Path, own_list: Path, tmp_path: Path) -> None:
    assert build(copy) == 0
    shutil.rmtree(own_list.parent)
    assert build(copy) == 0
    (tmp_path / "link").symlink_to(copy)
    assert build(tmp_path / "link") == 0


@pytest.mark.parametrize("change", ["size", "time"])
def test_other_files_are_refused(build: Build, copy: Path, own_list: Path, tmp_path: Path, change: str) -> None:
    if change == "size":
        _encode_again(copy / "5.mp4")
    else:
        os.utime(copy / "5.mp4", (0, 1_000_000_000))  # it was written within the last second, perhaps
    with pytest.raises(UserError) as refused:
        build(copy)
    assert f"computed from other files: 5.mp4 in {own_list.parent} had another size or time" in str(refused.value)
    assert f"than in {copy} now; give another folder with --features" in str(refused.value)
    # An unfinished table has them, too, if their shard is there.
    for path in (tmp_path / "store").glob("*/shard_00000"):
        shutil.rmtree(path)
    with pytest.raises(UserError, match=r"5\.mp4"):
        build(copy)
    assert build(copy, overwrite=True) == 6
    assert build(copy) == 0
    with pytest.raises(UserError, match="computed from other files"):
        build(own_list.parent)


def test_what_cannot_be_compared_passes(build: Build, copy: Path, tmp_path: Path) -> None:
    (copy / "5.mp4").unlink()
    assert build(copy) == 0
    _encode_again(copy / "1.mp4")
    for path in (tmp_path / "store").glob("*/shard_00000/sources.json"):
        path.unlink()  # as in tables of earlier releases
    assert build(copy) == 0


def test_files_of_the_same_folder_are_not_looked_at(
    build: Build, own_list: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(other_files, "clip_source", lambda *_: pytest.fail("a file was looked at"))
    os.utime(own_list.parent / "0.mp4")
    assert build(own_list.parent) == 0
