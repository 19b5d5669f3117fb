"""Rows that tables of other lists in a shared store contain are copied, and all others are computed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from adafocus_rl.data.clip_source import clip_source
from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.data.encode import write_video
from adafocus_rl.data.index import VideoIndex
from adafocus_rl.errors import UserError
from adafocus_rl.features import DEFAULT_TABLES, FeatureBank, TableSpec, TableStore, build_bank, specs
from adafocus_rl.features.expected import expected_manifests
from adafocus_rl.models.recognizer import Recognizer

CPU = torch.device("cpu")
MakeDataset = Callable[..., ClipDataset]
MakeRecognizer = Callable[..., Recognizer]
FRAMES = 3


class Copied:
    """What a build did.

    Attributes:
        count: number of videos that it did not decode.
        decoded: the videos that it decoded.
        glances, focuses: number of frames that f_G and f_L encoded whole.
    """

    def __init__(self) -> None:
        self.count = 0
        self.decoded: list[str] = []
        self.glances = self.focuses = -1  # one frame gives the shapes


class Folds:
    """Lists of one folder of videos, and a store of their features."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, make_dataset: MakeDataset) -> None:
        self.videos, self.folder = folder / "videos", folder
        self.store = TableStore(folder / "store", shared=True)
        self.monkeypatch = monkeypatch
        self.make_dataset = make_dataset

    def fold(self, name: str, *numbers: int, **options: Any) -> ClipDataset:
        """Write a list of these videos into a folder of its own, with other labels than other lists."""
        rows = [f"../videos/{number}.mp4,{(number + len(name)) % 3}" for number in numbers]
        path = self.folder / name / "train.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(["path,label", *rows]) + "\n")
        return self.make_dataset(path, **options)

    def build(
        self, recognizer: Recognizer, dataset: ClipDataset, *, store: TableStore | None = None, **options: Any
    ) -> Copied:
        """Build tables in shards of two videos, one video at a time, so that no rounding depends on the list."""
        done = Copied()
        load, glance, full = ClipDataset.__getitem__, Recognizer.glance_features, Recognizer.full_features

        def decode(own: ClipDataset, i: int) -> Any:
            done.decoded.append(Path(own.index[i].path).name)
            return load(own, i)

        def see(own: Recognizer, frames: Tensor) -> Any:
            done.glances += len(frames)
            return glance(own, frames)

        def look(own: Recognizer, frames: Tensor) -> Any:
            done.focuses += len(frames)
            return full(own, frames)

        with self.monkeypatch.context() as patch:
            patch.setattr(ClipDataset, "__getitem__", decode)
            patch.setattr(Recognizer, "glance_features", see)
            patch.setattr(Recognizer, "full_features", look)
            options = {"shard_videos": 2, "chunk_videos": 1, **options}
            done.count = build_bank(store or self.store, recognizer, dataset, device=CPU, **options)
        return done


@pytest.fixture
def folds(own_list: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_dataset: MakeDataset) -> Folds:
    return Folds(tmp_path, monkeypatch, make_dataset)


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("eight_bit", [(), ("global_map", "local")])
def test_another_fold_encodes_only_its_new_videos(
    folds: Folds, make_recognizer: MakeRecognizer, tmp_path: Path, eight_bit: tuple[str, ...]
) -> None:
    first, second = folds.fold("one", 0, 1, 2, 3, 4), folds.fold("another", 5, 4, 2, 0)
    done = folds.build(make_recognizer(), first, eight_bit=eight_bit)
    assert (done.count, len(done.decoded), done.glances, done.focuses) == (0, 5, 5 * FRAMES, 5 * FRAMES)
    before = _content(folds.store.folder)
    done = folds.build(make_recognizer(), second, eight_bit=eight_bit)
    assert (done.count, done.decoded, done.glances, done.focuses) == (3, ["5.mp4"], FRAMES, FRAMES)
    # The files are those of a build that computes everything, and others remain as they were.
    alone = TableStore(tmp_path / "alone", shared=True)
    assert folds.build(make_recognizer(), second, store=alone, eight_bit=eight_bit).count == 0
    after = _content(folds.store.folder)
    assert {name: content for name, content in after.items() if name not in before} == _content(alone.folder)
    assert {name: content for name, content in after.items() if name in before} == before
    expected = expected_manifests(make_recognizer(), second, eight_bit=eight_bit)
    bank = FeatureBank(folds.store, device=CPU, expected=expected)
    assert bank.labels.tolist() == [record.labels[0] for record in second.index]
    # A fold of known videos decodes nothing.
    done = folds.build(make_recognizer(), folds.fold("third", 3, 5), eight_bit=eight_bit)
    assert (done.count, done.decoded, done.glances, done.focuses) == (2, [], 0, 0)


def test_in_chunks_of_several_videos_copies_are_equal_to_rounding(
    folds: Folds, make_recognizer: MakeRecognizer, tmp_path: Path
) -> None:
    second = folds.fold("another", 0, 5, 3, 4, 1)
    folds.build(make_recognizer(), folds.fold("one", 0, 1, 2, 3), chunk_videos=4, shard_videos=64)
    done = folds.build(make_recognizer(), second, chunk_videos=3, shard_videos=64)
    assert (done.count, done.decoded) == (3, ["5.mp4", "4.mp4"])
    alone = TableStore(tmp_path / "alone", shared=True)
    folds.build(make_recognizer(), second, store=alone, chunk_videos=3, shard_videos=64)
    for path in sorted(alone.folder.rglob("*.npy")):
        copied = np.load(folds.store.folder / path.relative_to(alone.folder))
        np.testing.assert_allclose(copied, np.load(path), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_video_that_has_changed_is_encoded_again(folds: Folds, make_recognizer: MakeRecognizer, change: str) -> None:
    folds.build(make_recognizer(), folds.fold("one", 0, 1, 2))
    path = folds.videos / "1.mp4"
    before = path.stat()
    if change == "size":
        write_video(path, np.full((9, 48, 48, 3), 77, dtype=np.uint8))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    done = folds.build(make_recognizer(), folds.fold("another", 0, 1, 2))
    assert (done.count, done.decoded) == (2, ["1.mp4"])


def test_an_interrupted_build_goes_on(folds: Folds, make_recognizer: MakeRecognizer, tmp_path: Path) -> None:
    second = folds.fold("another", 0, 4, 1, 5, 2, 3)
    folds.build(make_recognizer(), folds.fold("one", 0, 1, 2))

    def power_cut(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folds.build(make_recognizer(), second, progress=power_cut)
    done = folds.build(make_recognizer(), second)
    assert (done.count, done.decoded) == (2, ["5.mp4", "3.mp4"])
    alone = TableStore(tmp_path / "alone", shared=True)
    folds.build(make_recognizer(), second, store=alone)
    assert _content(alone.folder).items() <= _content(folds.store.folder).items()
    assert not list(folds.store.folder.rglob(".part_*"))


def test_features_of_other_weights_clips_and_transforms_are_not_copied(
    folds: Folds, make_recognizer: MakeRecognizer
) -> None:
    folds.build(make_recognizer(), folds.fold("one", 0, 1))
    other = make_recognizer()
    with torch.no_grad():
        next(other.focus.parameters()).add_(1)
    done = folds.build(other, folds.fold("another", 1, 0))
    # The maps of f_G, whose weights are the same, are copied.
    assert (done.count, len(done.decoded), done.glances, done.focuses) == (0, 2, 0, 2 * FRAMES)
    done = folds.build(make_recognizer(), folds.fold("short", 1, 0, resize_short=50))
    assert (done.count, done.glances, done.focuses) == (0, 2 * FRAMES, 2 * FRAMES)
    longer = folds.fold("long", 1, 0)
    frames = ClipDataset(longer.index, num_frames=4, transform=longer.config, train=False, seed=0, num_classes=3)
    assert folds.build(make_recognizer(), frames).count == 0
    done = folds.build(make_recognizer(), folds.fold("low", 1, 0), precision="bfloat16")
    assert (done.count, len(done.decoded)) == (0, 2)


def test_videos_with_boxes_are_decoded_but_not_encoded(folds: Folds, make_recognizer: MakeRecognizer) -> None:
    folds.build(make_recognizer(), folds.fold("one", 0, 1))
    second = folds.fold("another", 1, 0)
    boxes = "\n".join(f"../videos/0.mp4,{frame},4,5,10,12" for frame in range(7))
    (folds.folder / "another" / "train_boxes.csv").write_text(f"path,frame,top,left,height,width\n{boxes}\n")
    second = folds.make_dataset(folds.folder / "another" / "train.csv")
    done = folds.build(make_recognizer(), second)
    assert (done.count, len(done.decoded), done.glances, done.focuses) == (0, 2, 0, 0)
    bank = FeatureBank(folds.store, device=CPU, expected=expected_manifests(make_recognizer(), second))
    assert bank.true_boxes[1].tolist() == [[4, 5, 10, 12]] * FRAMES


def test_only_tables_without_the_rows_are_computed(folds: Folds, make_recognizer: MakeRecognizer) -> None:
    folds.build(make_recognizer(), folds.fold("one", 0, 1))
    color = TableSpec(name="color", fill=lambda chunk: chunk.frames.mean((2, 3)), depends=(specs.normalization,))
    second, tables = folds.fold("another", 1, 0), (*DEFAULT_TABLES, color)
    done = folds.build(make_recognizer(), second, tables=tables)
    assert (done.count, len(done.decoded), done.glances, done.focuses) == (0, 2, 0, 0)
    expected = expected_manifests(make_recognizer(), second, tables=tables)
    assert FeatureBank(folds.store, device=CPU, expected=expected).videos.tolist() == [0, 1]


def test_a_video_without_a_clip_is_not_known(folds: Folds, make_recognizer: MakeRecognizer) -> None:
    (folds.videos / "1.mp4").write_text("no video")
    (folds.videos / "2.mp4").unlink()
    folds.build(make_recognizer(), folds.fold("one", 0, 1, 2))
    second = folds.fold("another", 2, 1, 0)
    done = folds.build(make_recognizer(), second, chunk_videos=2)
    assert (done.count, done.decoded) == (1, ["2.mp4", "1.mp4"])
    bank = FeatureBank(folds.store, device=CPU, expected=expected_manifests(make_recognizer(), second))
    assert [Path(path).name for path, _ in bank.failed] == ["2.mp4", "1.mp4"]
    assert bank.videos.tolist() == [2]


def test_damage_is_not_copied(folds: Folds, make_recognizer: MakeRecognizer) -> None:
    folds.build(make_recognizer(), folds.fold("one", 0, 1))
    path = next(folds.store.folder.glob("local-*/shard_00000/local.npy"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 4]))
    second = folds.fold("another", 1, 0)
    with pytest.raises(UserError, match=r"local\.npy is damaged"):
        folds.build(make_recognizer(), second)
    shutil.rmtree(path.parent)  # as the message says
    assert folds.build(make_recognizer(), second).focuses == 0
    # Damage to the lists, or tables of an earlier release, which have none.
    for path in folds.store.folder.glob("*/shard_00000/sources.json"):
        path.write_text(path.read_text().replace('"sources": [', '"sources": ["x",'))
    done = folds.build(make_recognizer(), folds.fold("third", 0, 1))
    assert (done.count, len(done.decoded)) == (0, 2)


def test_overwriting_computes_everything(folds: Folds, make_recognizer: MakeRecognizer) -> None:
    folds.build(make_recognizer(), folds.fold("one", 0, 1))
    second = folds.fold("another", 1, 0)
    folds.build(make_recognizer(), second)
    assert folds.build(make_recognizer(), second, overwrite=True).count == 0


def test_a_store_of_one_run_has_no_lists(folds: Folds, make_recognizer: MakeRecognizer, tmp_path: Path) -> None:
    folds.build(make_recognizer(), folds.fold("one", 0, 1), store=TableStore(tmp_path / "own"))
    assert not list((tmp_path / "own").rglob("sources.json"))


def test_what_a_clip_of_a_folder_of_images_is_read_from(folds: Folds, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    folder = tmp_path / "images" / "a"
    folder.mkdir(parents=True)
    for number in range(9):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((48, 48, 3), number, dtype=np.uint8))
    transform = folds.fold("one", 0).config

    def source(path: str, frames: int = 3, listed: int = 0) -> str | None:
        (tmp_path / "list.csv").write_text(f"path,label,num_frames\n{path},0,{listed}\n")
        index = VideoIndex.read(tmp_path / "list.csv")
        return clip_source(ClipDataset(index, num_frames=frames, transform=transform, train=False, seed=0), 0)

    before = source("images/a")
    (tmp_path / "link").symlink_to(folder)
    assert source("link") == before == source(str(folder))
    assert len({before, source("images/a", frames=4), source("images/a", listed=6), source("images/b")}) == 4
    assert source("images/b") is None
    os.utime(folder / "0.png")  # frames 1, 4 and 7 are the middle ones of three parts
    assert source("images/a") == before
    os.utime(folder / "4.png")
    assert source("images/a") != before
