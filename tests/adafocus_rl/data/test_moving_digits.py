"""The embedded data: the same from a seed, boxes on the digit, a folder that is complete or absent."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from adafocus_rl.data import DATASETS, MovingDigitsConfig, make_moving_digits
from adafocus_rl.data.dataset import Clip, ClipDataset
from adafocus_rl.data.decode import decode_frames
from adafocus_rl.data.digit_clips import plan_labels, render_clip, render_stills, split_handwriting
from adafocus_rl.data.index import VideoIndex, missing, read_boxes
from adafocus_rl.data.sprites import scramble
from adafocus_rl.data.transform_options import TransformConfig
from adafocus_rl.errors import UserError

SMALL = MovingDigitsConfig(
    train_videos=6, val_videos=4, still_videos=3, frames=8, side=48, digit=16, still_side=24, noise=0.06
)
CLEAN = dataclasses.replace(
    SMALL, noise=0.0, distractors=0, contrast=0.0, frames=40, presence=(0.4, 0.8), speed=(0.8, 2.5)
)
HANDWRITING = split_handwriting(SMALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "digits"
    make_moving_digits(out, SMALL)
    return out


def test_handwriting_is_disjoint_and_stratified() -> None:
    train, val = HANDWRITING["train"], HANDWRITING["val"]
    assert len(train.images) + len(val.images) == 1797
    seen = {image.tobytes() for image in train.images}
    assert not any(image.tobytes() in seen for image in val.images)
    shares = np.bincount(val.digits) / (np.bincount(val.digits) + np.bincount(train.digits))
    assert np.abs(shares - 0.3).max() < 0.01
    assert train.images.shape[1:] == (8, 8)
    assert train.images.max() == 1


def test_labels_are_even() -> None:
    config = dataclasses.replace(SMALL, train_videos=25)
    labels = plan_labels(config, "train", 25)
    assert sorted(np.bincount(labels, minlength=10).tolist()) == [2] * 5 + [3] * 5
    assert labels.tolist() != sorted(labels.tolist())


@pytest.mark.parametrize("number", range(10))
def test_boxes_are_where_the_ink_is(number: int) -> None:
    # Without noise and distractors, everything that differs from the clip's background is the digit.
    frames, boxes = render_clip(CLEAN, HANDWRITING["train"], number % 10, "train", number)
    assert frames.shape == (40, 48, 48)
    present = ~np.isnan(boxes[:, 0])
    assert 0.4 * 40 - 1 <= present.sum() <= 0.8 * 40 + 1
    edges = np.flatnonzero(np.diff(present.astype(int)))
    assert len(edges) <= 2  # one contiguous stretch
    background = frames[~present][0]
    for frame, (top, left, height, width) in zip(frames, boxes, strict=True):
        rows, columns = np.nonzero(np.abs(frame.astype(int) - background) > 2)
        if np.isnan(top):
            assert len(rows) == 0
            continue
        assert (height, width) == (16, 16)
        assert 0 <= top <= 48 - 16
        assert 0 <= left <= 48 - 16
        assert len(rows) > 20
        assert rows.min() >= np.floor(top)
        assert columns.min() >= np.floor(left)
        assert rows.max() < np.ceil(top + height)
        assert columns.max() < np.ceil(left + width)
        # Digits touch the upper and lower end of their 8×8 field, or come within a cell of it.
        assert rows.max() - rows.min() > 16 * 6 / 8 - 2


def test_motion_is_smooth() -> None:
    for number in range(10):
        _, boxes = render_clip(CLEAN, HANDWRITING["val"], 3, "val", number)
        steps = np.linalg.norm(np.diff(boxes[~np.isnan(boxes[:, 0]), :2], axis=0), axis=1)
        # A reflection shortens a step; nothing lengthens one.
        assert steps.max() <= CLEAN.speed[1] + 0.02
        assert np.median(steps) >= CLEAN.speed[0] - 0.02


def test_ink_is_at_the_subpixel_place() -> None:
    frames, boxes = render_clip(CLEAN, HANDWRITING["train"], 0, "train", 0)
    present = ~np.isnan(boxes[:, 0])
    ink = frames[present].astype(float) - frames[~present][0]
    grid = np.arange(48)
    centres = (
        np.stack([(ink.sum(axis=2) * grid).sum(axis=1), (ink.sum(axis=1) * grid).sum(axis=1)], axis=1)
        / ink.sum(axis=(1, 2))[:, None]
    )
    offsets = centres - boxes[present, :2]
    assert np.ptp(offsets, axis=0).max() < 0.1


def test_clips_depend_on_seed_split_and_number_only() -> None:
    one, _ = render_clip(SMALL, HANDWRITING["train"], 3, "train", 5)
    same, _ = render_clip(SMALL, HANDWRITING["train"], 3, "train", 5)
    assert np.array_equal(one, same)
    other_seed = dataclasses.replace(SMALL, seed=1)
    for config, split, number in ((SMALL, "train", 6), (SMALL, "val", 5), (other_seed, "train", 5)):
        assert not np.array_equal(one, render_clip(config, HANDWRITING["train"], 3, split, number)[0])


@pytest.mark.parametrize("block", [1, 2, 4])
def test_distractors_are_digits_with_their_blocks_elsewhere(block: int) -> None:
    def blocks(image: NDArray[np.float32]) -> list[bytes]:
        n = range(0, 8, block)
        return sorted(image[i : i + block, j : j + block].tobytes() for i in n for j in n)

    rng = np.random.default_rng(0)
    images = HANDWRITING["val"].images[:50]
    scrambled = [scramble(image, block, rng) for image in images]
    assert all(blocks(a) == blocks(b) for a, b in zip(images, scrambled, strict=True))
    moved = sum(not np.array_equal(a, b) for a, b in zip(images, scrambled, strict=True))
    # Four blocks keep their places once in 24 times.
    assert moved >= 40


def test_distractors_are_there_all_the_time() -> None:
    config = dataclasses.replace(CLEAN, distractors=2)
    for number in range(5):
        frames, boxes = render_clip(config, HANDWRITING["val"], 1, "val", number)
        absent = frames[np.isnan(boxes[:, 0])].astype(int)
        assert all((np.abs(frame - np.median(frame)) > 20).sum() > 40 for frame in absent)


def test_distractors_are_fainter_where_their_ink_says_so() -> None:
    # At a glance brightness tells a digit from a distractor, since shape cannot.
    config = dataclasses.replace(CLEAN, distractors=1, background=(0.0, 0.0), ink=(0.9, 0.9), distractor_ink=(0.4, 0.4))
    for number in range(5):
        frames, boxes = render_clip(config, HANDWRITING["val"], 1, "val", number)
        present = ~np.isnan(boxes[:, 0])
        assert frames[present].max() > 0.7 * 255
        assert frames[~present].max() <= 0.4 * 255 + 1


def test_stills_show_one_digit_of_their_class_in_every_frame_each_another() -> None:
    config = dataclasses.replace(CLEAN, distractors=5, frames=6)
    stills = render_stills(config, HANDWRITING["train"], 3, 0)
    assert stills.shape == (6, 24, 24)
    # No distractors, and the digit always there: background elsewhere, whose brightness differs from still to still.
    for still in stills:
        rows, columns = np.nonzero(np.abs(still.astype(int) - np.bincount(still.ravel()).argmax()) > 2)
        assert 6 < np.ptp(rows) <= 17
        assert np.ptp(columns) <= 17
    assert len({still.tobytes() for still in stills}) == 6
    following = render_stills(config, HANDWRITING["train"], 3, 1)
    assert not {still.tobytes() for still in stills} & {still.tobytes() for still in following}


def test_files_and_lists_agree(folder: Path) -> None:
    names = "classes.txt dataset.json stills stills.csv train train.csv train_boxes.csv val val.csv val_boxes.csv"
    assert sorted(path.name for path in folder.iterdir()) == names.split()
    stills = VideoIndex.read(folder / "stills.csv")
    assert len(stills) == 3
    for i, record in enumerate(stills):
        drawn = render_stills(SMALL, HANDWRITING["train"], record.labels[0], i)
        stored = decode_frames(stills.full_path(i), range(8)).astype(float)
        assert np.abs(stored - drawn[..., None]).mean() < 8
    for split, count in (("train", 6), ("val", 4)):
        index = VideoIndex.read(folder / f"{split}.csv")
        assert len(index) == count
        assert missing(index) == []
        assert index.class_names == tuple("0123456789")
        boxes = read_boxes(index)
        for i, record in enumerate(index):
            expected, box = render_clip(SMALL, HANDWRITING[split], record.labels[0], split, i)
            np.testing.assert_allclose(boxes[record.path], box, atol=1e-4)
            stored = decode_frames(index.full_path(i), range(8)).astype(float)
            assert np.abs(stored - expected[..., None]).mean() < 8


def test_dataset_reads_it(folder: Path) -> None:
    transform = TransformConfig(frame_size=48, resize_short=0, crop="none", flip=False)
    index = VideoIndex.read(folder / "train.csv")
    clip = ClipDataset(index, num_frames=4, transform=transform, train=False, seed=0)[0]
    assert isinstance(clip, Clip)
    stored = read_boxes(index)[index[0].path][clip.frames.numpy()]
    np.testing.assert_allclose(clip.true_boxes.numpy(), stored, atol=1e-4)


def test_same_bytes_from_the_same_seed_whatever_writes_them(folder: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    lists = make_moving_digits(tmp_path / "again", SMALL, lambda done, total: calls.append((done, total)), workers=2)
    assert lists == {split: tmp_path / "again" / f"{split}.csv" for split in ("train", "val", "stills")}
    assert calls == [(n, 13) for n in range(1, 14)]
    for path in folder.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(folder)).read_bytes(), path
    other = make_moving_digits(tmp_path / "other", dataclasses.replace(SMALL, seed=1))
    assert other["train"].read_bytes() != lists["train"].read_bytes()


def test_complete_folder_is_reused_and_another_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "digits"
    out.mkdir()  # an empty folder is as good as none
    config = dataclasses.replace(SMALL, train_videos=1, val_videos=1, still_videos=0)
    make_moving_digits(out, config)
    stamp = (out / "train.csv").stat().st_mtime_ns
    assert make_moving_digits(out, config)["train"].stat().st_mtime_ns == stamp
    with pytest.raises(UserError, match=r"config\.noise is 0\.06.* there and 0\.5 here"):
        make_moving_digits(out, dataclasses.replace(config, noise=0.5))
    (out / "train.csv").write_text("path,label\n")
    assert "stills" not in make_moving_digits(tmp_path / "none", config)
    with pytest.raises(UserError, match="were changed since"):
        make_moving_digits(out, config)
    (out / "dataset.json").write_text(json.dumps(["nonsense"]))
    with pytest.raises(UserError, match="is no dataset folder"):
        make_moving_digits(out, config)


def test_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="is no dataset folder"):
        make_moving_digits(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_interruption_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_moving_digits(tmp_path / "digits", SMALL, interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        {"train_videos": 0},
        {"frames": 1},
        {"side": 95},
        {"digit": 64},
        {"still_side": 16},
        {"still_videos": -1},
        {"distractor_ink": (0.5, 1.2)},
        {"digit": 4},
        {"scramble_block": 3},
        {"noise": -0.1},
        {"presence": (0.8, 0.4)},
        {"presence": (0.5, 1.5)},
        {"val_share": 1.0},
        {"crf": 52},
    ],
)
def test_senseless_configurations_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=f"got {next(iter(options))}="):
        MovingDigitsConfig(**options)  # type: ignore[arg-type]


def test_it_is_registered() -> None:
    assert DATASETS.get("moving_digits") is make_moving_digits
    with pytest.raises(UserError, match="did you mean 'moving_digits'"):
        DATASETS.get("moving_digit")
