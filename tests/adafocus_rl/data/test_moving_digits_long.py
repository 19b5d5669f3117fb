"""The longer embedded data: a disc announces the digit, distractors are as bright, two sizes, a moving camera."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from adafocus_rl.data import DATASETS, MovingDigitsLongConfig, make_moving_digits_long
from adafocus_rl.data.decode import decode_frames
from adafocus_rl.data.digit_clips import render_clip, split_handwriting
from adafocus_rl.data.index import VideoIndex, missing, read_boxes
from adafocus_rl.data.moving_digits_long import blob, plan_frames, render_long_clip, render_long_stills
from adafocus_rl.errors import UserError

DEFAULT = MovingDigitsLongConfig()
BARE = dataclasses.replace(DEFAULT, noise=0.0, distractors=0, contrast=0.0, background=(0.2, 0.2))
"""Nothing but the disc and the digit differs from the background."""
STEADY = dataclasses.replace(BARE, camera_range=0, speed=(0.0, 0.0))
HANDWRITING = split_handwriting(DEFAULT)


def differs(frame: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Rows and columns (M, 2) of the pixels that are not background."""
    return np.argwhere(np.abs(frame.astype(int) - round(0.2 * 255)) > 2)


@pytest.mark.parametrize("number", range(10))
def test_a_disc_at_the_digits_place_comes_before_the_digit(number: int) -> None:
    frames, boxes = render_long_clip(STEADY, HANDWRITING["train"], number, "train", number)
    assert frames.shape == (24, 64, 64)
    present = np.flatnonzero(~np.isnan(boxes[:, 0]))
    cue = np.array([frame for frame in range(24) if frame not in present and len(differs(frames[frame]))])
    assert len(cue) == 2
    assert cue[1] == cue[0] + 1
    assert 3 <= present[0] - cue[1] - 1 <= 6
    assert 0.12 * 24 - 0.5 <= len(present) <= 0.21 * 24 + 0.5
    assert np.array_equal(present, present[0] + np.arange(len(present)))
    box = boxes[present[0]]
    pixels = differs(frames[cue[0]])
    # A disc of the digit's size: its centre is the box's, and so is its extent, to the pixel.
    np.testing.assert_allclose(pixels.mean(0) + 0.5, box[:2] + box[2:] / 2, atol=0.6)
    assert np.all(np.ptp(pixels, axis=0) + 1 >= box[2:] - 1)
    assert frames[cue[0]].max() == 255


@pytest.mark.parametrize("number", range(10))
def test_boxes_are_where_the_ink_is_while_the_camera_moves(number: int) -> None:
    config = dataclasses.replace(BARE, cue_frames=0)
    frames, boxes = render_long_clip(config, HANDWRITING["val"], number, "val", number)
    for frame, (top, left, height, width) in zip(frames, boxes, strict=True):
        pixels = differs(frame)
        if np.isnan(top):
            assert len(pixels) == 0
            continue
        assert len(pixels) > 10
        assert np.all(pixels.min(0) >= np.floor([top, left]))
        assert np.all(pixels.max(0) < np.ceil([top + height, left + width]))
        assert min(top, left) >= 0
        assert max(top + height, left + width) <= 64


def test_the_camera_moves_what_does_not_move_itself() -> None:
    config = dataclasses.replace(STEADY, camera_range=8, camera_speed=(0.4, 0.6))
    steps = []
    for number in range(20):
        _, boxes = render_long_clip(config, HANDWRITING["train"], 1, "train", number)
        there = boxes[~np.isnan(boxes[:, 0]), :2]
        steps += np.linalg.norm(np.diff(there, axis=0), axis=1).tolist()
    # A reflection shortens a step; nothing lengthens one.
    assert max(steps) <= 0.6 + 0.02
    assert np.median(steps) >= 0.4 - 0.02


def test_the_background_moves_with_the_camera() -> None:
    config = dataclasses.replace(STEADY, contrast=0.1, cue_frames=0, camera_range=8, camera_speed=(0.5, 0.5))
    frames, boxes = render_long_clip(config, HANDWRITING["train"], 1, "train", 0)
    first = frames[0].astype(int)
    absent = np.flatnonzero(np.isnan(boxes[:, 0]))
    shifts = [(down, right) for down in range(-8, 9) for right in range(-8, 9)]
    moved = set()
    for frame in frames[absent].astype(int):
        # What the frame shows is the first frame, shifted by whole pixels, where both see it.
        errors = [
            np.abs(
                frame[max(0, down) : 64 + min(0, down), max(0, right) : 64 + min(0, right)]
                - first[max(0, -down) : 64 + min(0, -down), max(0, -right) : 64 + min(0, -right)]
            ).max()
            for down, right in shifts
        ]
        assert min(errors) == 0
        moved.add(shifts[int(np.argmin(errors))])
    assert len(moved) > 3


def test_digits_have_one_of_two_sizes() -> None:
    clips = [render_long_clip(BARE, HANDWRITING["val"], 3, "val", number)[1] for number in range(40)]
    sides = [np.unique(boxes[~np.isnan(boxes[:, 0]), 2:]).tolist() for boxes in clips]
    assert all(len(side) == 1 for side in sides)
    assert {side[0] for side in sides} == {14.0, 18.0}
    assert 10 <= sum(side[0] == 14 for side in sides) <= 30


def test_distractors_have_as_much_ink_and_never_leave() -> None:
    # Mean brightness above a black background: of one distractor alone, and of the digit alone.
    steady = dataclasses.replace(STEADY, cue_frames=0, background=(0.0, 0.0), ink=(0.9, 0.9), distractor_ink=(0.9, 0.9))
    digits, distractors = [], []
    for number in range(150):
        frames, boxes = render_long_clip(steady, HANDWRITING["val"], number % 10, "val", number)
        digits.append(frames[~np.isnan(boxes[:, 0])].mean())
        frames, boxes = render_long_clip(
            dataclasses.replace(steady, distractors=1), HANDWRITING["val"], number % 10, "val", number
        )
        absent = frames[np.isnan(boxes[:, 0])].astype(int)
        assert np.all(absent == absent[0])
        distractors.append(absent[0].mean())
    assert np.mean(distractors) == pytest.approx(np.mean(digits), rel=0.08)


def test_a_blob_is_the_mean_of_each_quarter() -> None:
    image = np.arange(64, dtype=np.float32).reshape(8, 8)
    quarters = [[image[:4, :4].mean(), image[:4, 4:].mean()], [image[4:, :4].mean(), image[4:, 4:].mean()]]
    np.testing.assert_allclose(blob(image), quarters)


def test_the_digit_is_written_anew_in_every_frame() -> None:
    config = dataclasses.replace(STEADY, background=(0.0, 0.0), presence=(0.2, 0.2))
    for number in range(5):
        frames, boxes = render_long_clip(config, HANDWRITING["train"], 2, "train", number)
        shown = frames[~np.isnan(boxes[:, 0])]
        assert len(shown) == 5
        assert len({frame.tobytes() for frame in shown}) >= 4


def test_distractors_leave_the_digit_alone() -> None:
    # The digit is painted last, so a distractor near it would show beside it, in its box.
    with_others = dataclasses.replace(BARE, distractors=4)
    untouched = 0
    for number in range(30):
        alone, boxes = render_long_clip(BARE, HANDWRITING["val"], 5, "val", number)
        frames, same = render_long_clip(with_others, HANDWRITING["val"], 5, "val", number)
        np.testing.assert_array_equal(boxes, same)
        frame = int(np.flatnonzero(~np.isnan(boxes[:, 0]))[0])
        top, left, side = boxes[frame, :3].round().astype(int)
        crop = np.s_[frame, top : top + side, left : left + side]
        untouched += float((np.abs(alone[crop].astype(int) - frames[crop]) > 40).mean()) < 0.05
    assert untouched >= 20


@given(
    seed=st.integers(0, 2**32 - 1),
    cue_frames=st.integers(0, 3),
    lead=st.tuples(st.integers(0, 4), st.integers(0, 4)).map(lambda pair: (min(pair), max(pair))),
    frames=st.integers(14, 40),
)
def test_frames_are_planned_inside_the_clip(seed: int, cue_frames: int, lead: tuple[int, int], frames: int) -> None:
    config = dataclasses.replace(DEFAULT, cue_frames=cue_frames, lead=lead, frames=frames, presence=(0.1, 0.3))
    cue, present = plan_frames(config, np.random.default_rng(seed))
    assert len(cue) == cue_frames
    assert 1 <= len(present) <= round(0.3 * frames)
    assert lead[0] <= present[0] - (cue[-1] + 1 if cue_frames else present[0] - lead[0]) <= lead[1]
    for run in (cue, present):
        assert np.array_equal(run, run[:1] + np.arange(len(run)))
    assert min([*cue, *present]) >= 0
    assert max(present) < frames


def test_the_digit_comes_early_and_late() -> None:
    rng = np.random.default_rng(0)
    first = [int(plan_frames(DEFAULT, rng)[1][0]) for _ in range(2000)]
    # After the disc and the shortest pause, up to the last frames.
    assert min(first) == 5
    assert max(first) == 21
    assert np.bincount(first).max() < 0.12 * len(first)


def test_clips_depend_on_seed_split_and_number_only() -> None:
    one, _ = render_long_clip(DEFAULT, HANDWRITING["train"], 3, "train", 5)
    same, _ = render_long_clip(DEFAULT, HANDWRITING["train"], 3, "train", 5)
    assert np.array_equal(one, same)
    other_seed = dataclasses.replace(DEFAULT, seed=1)
    for config, split, number in ((DEFAULT, "train", 6), (DEFAULT, "val", 5), (other_seed, "train", 5)):
        assert not np.array_equal(one, render_long_clip(config, HANDWRITING["train"], 3, split, number)[0])
    assert not np.array_equal(one, render_clip(DEFAULT, HANDWRITING["train"], 3, "train", 5)[0])


def test_stills_show_a_digit_beside_a_distractor() -> None:
    stills = render_long_stills(BARE, HANDWRITING["train"], 0, 0)
    assert stills.shape == (24, 32, 32)
    sides = [np.ptp(differs(still)[:, 0]) + 1 for still in stills]
    assert min(sides) < 16
    assert max(sides) >= 17
    assert len({still.tobytes() for still in stills}) == 24
    both = render_long_stills(dataclasses.replace(BARE, distractors=4), HANDWRITING["train"], 0, 0)
    # One distractor, however many a clip has, and never a disc.
    assert all(len(differs(two)) > len(differs(single)) for single, two in zip(stills, both, strict=True))
    assert max(still.max() for still in both) <= 0.95 * 255 + 1
    assert np.array_equal(
        both, render_long_stills(dataclasses.replace(BARE, distractors=1), HANDWRITING["train"], 0, 0)
    )


def test_it_is_written_and_read(tmp_path: Path) -> None:
    config = dataclasses.replace(DEFAULT, train_videos=3, val_videos=2, still_videos=1)
    lists = DATASETS.get("moving_digits_long")(tmp_path / "long", config)
    assert lists == {split: tmp_path / "long" / f"{split}.csv" for split in ("train", "val", "stills")}
    for split, count in (("train", 3), ("val", 2)):
        index = VideoIndex.read(lists[split])
        assert len(index) == count
        assert missing(index) == []
        boxes = read_boxes(index)
        for i, record in enumerate(index):
            expected, box = render_long_clip(config, HANDWRITING[split], record.labels[0], split, i)
            np.testing.assert_allclose(boxes[record.path], box, atol=1e-4)
            stored = decode_frames(index.full_path(i), range(24)).astype(float)
            assert np.abs(stored - expected[..., None]).mean() < 8
    again = make_moving_digits_long(tmp_path / "again", config, workers=2)
    for path in (tmp_path / "long").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "long")).read_bytes(), path
    assert again.keys() == lists.keys()


@pytest.mark.parametrize(
    "options",
    [
        {"small_digit": 7},
        {"small_digit": 19},
        {"cue_frames": -1},
        {"cue_ink": 1.5},
        {"lead": (5, 3)},
        {"lead": (3, 20)},
        {"frames": 8},
        {"camera_range": 46},
        {"camera_range": -1},
        {"camera_speed": (0.5, 0.2)},
        {"presence": (0.5, 1.5)},
    ],
)
def test_senseless_configurations_are_refused(options: dict[str, object]) -> None:
    named = "frames" if options == {"lead": (3, 20)} else next(iter(options))
    with pytest.raises(UserError, match=f"moving_digits_long got {named}="):
        MovingDigitsLongConfig(**options)  # type: ignore[arg-type]
