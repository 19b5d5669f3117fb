"""One random choice per clip, and boxes that stay on their pixels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from adafocus_rl.data.transform_options import TransformConfig
from adafocus_rl.data.transforms import (
    MultiScaleCrop,
    apply_transform,
    build_transform,
    stored_boxes,
)
from adafocus_rl.errors import UserError

ABSENT = [float("nan")] * 4


def _clip_with_boxes(height: int, width: int, boxes: list[list[float]]) -> tuple[Tensor, Tensor]:
    """Black frames with each box painted white."""
    frames = torch.zeros(len(boxes), 3, height, width, dtype=torch.uint8)
    for frame, (top, left, h, w) in zip(frames, boxes, strict=True):
        if top == top:
            frame[:, int(top) : int(top + h), int(left) : int(left + w)] = 255
    return frames, torch.tensor(boxes)


def _seen(frame: Tensor) -> Tensor:
    """[top, left, height, width] of the pixels more white than black."""
    rows, columns = (frame[0] > 127).nonzero().unbind(1)
    top, left = rows.min(), columns.min()
    return torch.stack([top, left, rows.max() + 1 - top, columns.max() + 1 - left]).float()


CONFIGS = [
    TransformConfig(frame_size=56),
    TransformConfig(frame_size=56, crop="none"),
    TransformConfig(frame_size=56, crop="none", resize_short=0, flip=False),
    TransformConfig(frame_size=112, scales=(1.0, 0.5)),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("train", [True, False])
def test_boxes_follow_the_pixels(config: TransformConfig, train: bool) -> None:
    frames, boxes = _clip_with_boxes(80, 120, [[30, 50, 20, 24], ABSENT, [34, 40, 16, 30]])
    transform = build_transform(config, train=train)
    for seed in range(20):
        torch.manual_seed(seed)
        clip, moved = apply_transform(transform, frames, boxes)
        assert clip.shape == (3, 3, config.frame_size, config.frame_size)
        assert clip.dtype == torch.uint8
        assert moved.dtype == torch.float32
        assert moved[1].isnan().all()
        assert clip[1].max() == 0
        for t in (0, 2):
            if moved[t].isnan().any():
                assert (clip[t] > 127).sum() == 0
            else:
                torch.testing.assert_close(_seen(clip[t]), moved[t], atol=1.01, rtol=0)


@pytest.mark.parametrize("seed", range(8))
def test_all_frames_of_a_clip_share_the_choice(seed: int) -> None:
    frame = torch.randint(256, (3, 60, 90), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    transform = build_transform(TransformConfig(frame_size=40), train=True)
    torch.manual_seed(seed)
    clip, _ = apply_transform(transform, frame.expand(5, -1, -1, -1), torch.full((5, 4), torch.nan))
    assert torch.equal(clip, clip[:1].expand_as(clip))


def test_choices_differ_between_clips_and_repeat_with_the_seed() -> None:
    frames, boxes = _clip_with_boxes(80, 120, [[30, 50, 20, 24]])
    transform = build_transform(TransformConfig(frame_size=56), train=True)

    def moved(seed: int) -> tuple[float, ...]:
        torch.manual_seed(seed)
        return tuple(apply_transform(transform, frames, boxes)[1].flatten().tolist())

    assert len({moved(seed) for seed in range(30)}) > 15
    assert moved(3) == moved(3)


def test_evaluation_ignores_the_generator_and_keeps_the_centre() -> None:
    # 80×120 at short side 64 is 64×96; the centre crop of 56 starts at (4, 20).
    frames, boxes = _clip_with_boxes(80, 120, [[30, 50, 20, 20]])
    transform = build_transform(TransformConfig(frame_size=56), train=False)
    state = torch.get_rng_state()
    _, moved = apply_transform(transform, frames, boxes)
    assert torch.equal(state, torch.get_rng_state())
    expected = torch.tensor([[30 * 0.8 - 4, 50 * 0.8 - 20, 16, 16]])
    torch.testing.assert_close(moved, expected)


def test_box_outside_the_crop_is_absent_and_a_cut_one_is_cut() -> None:
    transform = build_transform(TransformConfig(frame_size=40, resize_short=0), train=False)
    # The centre crop of 80×120 keeps rows 20 to 60 and columns 40 to 80.
    frames, boxes = _clip_with_boxes(80, 120, [[0, 0, 10, 10], [10, 70, 20, 30]])
    _, moved = apply_transform(transform, frames, boxes)
    assert moved[0].isnan().all()
    assert moved[1].tolist() == [0, 30, 10, 10]


def test_frames_of_the_right_size_are_untouched() -> None:
    frames = torch.randint(256, (2, 3, 48, 48), dtype=torch.uint8)
    config = TransformConfig(frame_size=48, resize_short=0, crop="none", flip=False)
    clip, _ = apply_transform(build_transform(config, train=True), frames, torch.full((2, 4), torch.nan))
    assert torch.equal(clip, frames)


def test_flip_is_half_of_the_clips() -> None:
    frames, boxes = _clip_with_boxes(48, 48, [[10, 4, 8, 8]])
    transform = build_transform(TransformConfig(frame_size=48, resize_short=0, crop="none"), train=True)
    torch.manual_seed(0)
    lefts = [apply_transform(transform, frames, boxes)[1][0, 1].item() for _ in range(400)]
    assert set(lefts) == {4.0, 36.0}
    # Standard deviation 10.
    assert abs(lefts.count(36.0) - 200) < 50


def test_multiscale_crops_have_the_published_sizes_and_places() -> None:
    from torchvision.tv_tensors import Video

    crop = MultiScaleCrop(224, (1.0, 0.875, 0.75, 0.66))
    video = Video(torch.zeros(1, 3, 256, 341, dtype=torch.uint8))
    torch.manual_seed(0)
    drawn = [crop.make_params([video]) for _ in range(3000)]
    sizes = [256, 224, 192, 168]
    pairs = {(p["height"], p["width"]) for p in drawn}
    assert pairs == {(sizes[i], sizes[j]) for i in range(4) for j in range(4) if abs(i - j) <= 1}
    small = {(p["top"], p["left"]) for p in drawn if p["height"] == p["width"] == 168}
    rows, columns = 256 - 168, 341 - 168
    quarters = [
        (0, 0),
        (0, 4),
        (4, 0),
        (4, 4),
        (2, 2),
        (0, 2),
        (2, 0),
        (2, 4),
        (4, 2),
        (1, 1),
        (1, 3),
        (3, 1),
    ]
    assert small == {(rows * i // 4, columns * j // 4) for i, j in [*quarters, (3, 3)]}
    assert all(p["top"] + p["height"] <= 256 and p["left"] + p["width"] <= 341 for p in drawn)


def test_short_side_follows_the_frame_size() -> None:
    assert TransformConfig().short_side == 256
    assert TransformConfig(frame_size=96).short_side == 110
    assert TransformConfig(frame_size=96, resize_short=0).short_side == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame_size": 0}, "frame_size is 0"),
        ({"frame_size": 96, "resize_short": 64}, "resize_short is 64"),
        ({"resize_short": -1}, "resize_short is -1"),
        ({"scales": ()}, "scales are"),
        ({"scales": (1.0, 1.5)}, "scales are"),
    ],
)
def test_senseless_configurations_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TransformConfig(**options)  # type: ignore[arg-type]


@given(data=st.data(), height=st.integers(20, 90), width=st.integers(20, 90), side=st.integers(8, 20))
def test_boxes_of_the_clip_lie_on_the_same_place_of_the_stored_frame(
    data: st.DataObject, height: int, width: int, side: int
) -> None:
    """The way there and back, for frames of any shape."""
    config = TransformConfig(frame_size=side, resize_short=data.draw(st.sampled_from([None, 0, side, side + 7])))
    place = [data.draw(st.floats(0, 1)) for _ in range(2)]
    size = data.draw(st.floats(0.1, 1))
    box = torch.tensor([[*(p * (1 - size) * side for p in place), size * side, size * side]], dtype=torch.float64)
    stored = stored_boxes(config, box, (height, width))
    assert stored.dtype == torch.float64
    top, left, h, w = stored[0].tolist()
    assert top >= -1e-9
    assert left >= -1e-9
    assert top + h <= height + 1e-9
    assert left + w <= width + 1e-9
    frames = torch.zeros(1, 3, height, width, dtype=torch.uint8)
    _, back = apply_transform(build_transform(config, train=False), frames, stored)
    torch.testing.assert_close(back, box.float(), atol=1e-3, rtol=0)


def test_the_whole_of_an_uncropped_frame_maps_to_itself() -> None:
    config = TransformConfig(frame_size=32, resize_short=32)
    whole = torch.tensor([[0, 0, 32, 32]])
    assert stored_boxes(config, whole, (90, 90)).tolist() == [[0, 0, 90, 90]]
    # Of a wide frame, resized to 32×53, the crop leaves 10 columns out on the left (torch rounds 10.5 to even).
    assert stored_boxes(config, whole, (60, 100)).tolist() == [[0, 10 * 100 / 53, 60, 32 * 100 / 53]]


@given(
    height=st.integers(1, 400), width=st.integers(1, 400), seed=st.integers(0, 2**32),
    scales=st.lists(st.floats(0.05, 1), min_size=1, max_size=4),
)  # fmt: skip
def test_a_multiscale_crop_lies_in_the_frame_and_has_two_neighbouring_scales(
    height: int, width: int, seed: int, scales: list[float]
) -> None:
    from torchvision.tv_tensors import Video

    torch.manual_seed(seed)
    drawn = MultiScaleCrop(8, scales).make_params([Video(torch.zeros(1, 3, height, width, dtype=torch.uint8))])
    assert 0 <= drawn["top"] <= height - drawn["height"]
    assert 0 <= drawn["left"] <= width - drawn["width"]
    sides = [max(1, int(min(height, width) * scale)) for scale in scales]
    pairs = {(sides[i], sides[j]) for i in range(len(sides)) for j in range(len(sides)) if abs(i - j) <= 1}
    assert (drawn["height"], drawn["width"]) in pairs
