"""Patches of several scales: their boxes in closed form, and crops against a plain loop with an independent filter."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from adafocus_rl.errors import UserError
from adafocus_rl.geometry import PatchGrid

GRID = PatchGrid(grid=3, frame_size=32, patch_size=16, scales=(0.75, 1, 1.5))


@st.composite
def grids(draw: st.DrawFn) -> PatchGrid:
    """Grids whose scales come from different sides, so that each side is round(s · P)."""
    frame = draw(st.integers(4, 200))
    patch = draw(st.integers(1, frame))
    sides = draw(st.lists(st.integers(1, frame), min_size=1, max_size=4, unique=True))
    return PatchGrid(
        grid=draw(st.integers(1, 9)), frame_size=frame, patch_size=patch, scales=[side / patch for side in sides]
    )


def test_boxes_in_closed_form() -> None:
    assert (GRID.sides, GRID.base_scale, GRID.num_actions) == ((12, 16, 24), 1, 27)
    boxes = GRID.action_box(torch.arange(27)).tolist()
    expected = [
        [row * last // 2, column * last // 2, side, side]
        for side, last in ((12, 20), (16, 16), (24, 8))
        for row in range(3)
        for column in range(3)
    ]
    assert boxes == expected
    assert GRID.scale(torch.tensor([[0, 8], [9, 26]])).tolist() == [[0, 0], [1, 2]]
    assert GRID.position(torch.tensor([0, 8, 10, 24])).tolist() == [[0, 0], [1, 1], [0, 0.5], [1, 0]]


def test_a_side_is_at_most_that_of_the_frame() -> None:
    grid = PatchGrid(grid=2, frame_size=20, patch_size=16, scales=(1, 2))
    assert grid.sides == (16, 20)
    assert grid.action_box(torch.arange(4, 8)).tolist() == [[0, 0, 20, 20]] * 4


@given(grids())
def test_each_scale_is_a_grid_of_its_own_that_touches_the_edges(grid: PatchGrid) -> None:
    boxes = grid.action_box(torch.arange(grid.num_actions))
    apart = [one.action_box(torch.arange(one.num_actions)) for one in grid.each]
    assert torch.equal(boxes, torch.cat(apart))
    assert int(boxes.min()) >= 0
    assert int((boxes[:, :2] + boxes[:, 2:]).max()) <= grid.frame_size
    if grid.grid > 1:
        for side, own in zip(grid.sides, apart, strict=True):
            assert own[0].tolist() == [0, 0, side, side]
            assert own[-1].tolist() == [grid.frame_size - side] * 2 + [side] * 2


@given(grids(), st.integers(0, 10**6))
def test_action_undoes_position_and_scale(grid: PatchGrid, number: int) -> None:
    action = torch.tensor([[number % grid.num_actions]])
    assert torch.equal(grid.action(grid.position(action), grid.scale(action)), action)
    assert torch.equal(grid.scale(grid.action(grid.position(action))), torch.full((1, 1), grid.base_scale))


@given(grids(), st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True)))
def test_uniform_origins_stay_in_the_frame_of_each_scale(grid: PatchGrid, uniform: tuple[float, float]) -> None:
    scale = torch.arange(len(grid.scales))
    given_ = torch.tensor(uniform, dtype=torch.float64).expand(len(scale), 2)
    for one, origin in zip(grid.each, grid.uniform_origin(given_, scale), strict=True):
        assert torch.equal(origin, one.uniform_origin(given_[0]))
        assert 0 <= int(origin.min()) <= int(origin.max()) <= one.last_offset


def test_the_smallest_scale_that_holds_a_box_fits_it() -> None:
    nan = torch.nan
    boxes = torch.tensor([[4.0, 4, 3, 12], [4, 4, 13, 2], [0, 0, 17, 17], [0, 0, 25, 3], [nan, nan, nan, nan]])
    assert GRID.fitting_scale(boxes).tolist() == [0, 1, 2, 2, 1]
    # Whatever their place, and with any leading axes.
    boxes[:4, :2] += 100
    assert GRID.fitting_scale(boxes).tolist() == [0, 1, 2, 2, 1]
    assert GRID.fitting_scale(boxes[:4].view(2, 1, 2, 4)).tolist() == [[[0, 1]], [[2, 2]]]
    assert GRID.fitting_scale(boxes[1]).tolist() == 1
    turned = PatchGrid(grid=3, frame_size=32, patch_size=16, scales=(1.5, 0.75, 1))
    assert turned.fitting_scale(boxes).tolist() == [1, 2, 0, 0, 2]


@given(grids(), st.lists(st.floats(0, 200, width=32), min_size=4, max_size=4), st.integers(0, 3))
def test_centred_positions_are_those_of_the_scale_s_own_grid(grid: PatchGrid, numbers: list[float], which: int) -> None:
    box, scale = torch.tensor(numbers), which % len(grid.scales)
    found = grid.centered_position(box, torch.tensor(scale))
    assert torch.equal(found, grid.each[scale].centered_position(box))
    assert torch.equal(grid.centered_position(box), grid.each[grid.base_scale].centered_position(box))


def _filter(size: int, side: int) -> Tensor:
    """Weights (side, size) of a triangle as wide as two pixels of the coarser picture, normalised in the patch."""
    ratio = size / side
    centers = (torch.arange(side, dtype=torch.float64) + 0.5) * ratio
    distance = (torch.arange(size) + 0.5 - centers[:, None]).abs() / max(1.0, ratio)
    weights = (1 - distance).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("several", [False, True])
def test_crops_equal_a_plain_loop(dtype: torch.dtype, several: bool) -> None:
    grid = PatchGrid(grid=2, frame_size=15, patch_size=6, scales=(0.5, 1, 2))
    frames = torch.randint(256, (12, 3, 15, 15), generator=torch.Generator().manual_seed(0)).to(dtype)
    action = torch.arange(12)
    if several:
        action = torch.stack((action, 11 - action), dim=1)
    patches = grid.crop(frames, grid.action_origin(action), grid.scale(action))
    assert patches.shape == (*action.shape, 3, 6, 6)
    assert patches.dtype == dtype
    for sample, boxes in enumerate(grid.action_box(action).view(12, -1, 4).tolist()):
        for number, (top, left, side, _) in enumerate(boxes):
            cut = frames[sample, :, top : top + side, left : left + side].double()
            expected = _filter(side, 6) @ cut @ _filter(side, 6).T
            found = patches[sample, number] if several else patches[sample]
            # A step of the type at 255, and rounding at one half.
            step = {torch.uint8: 0.501, torch.float16: 0.13, torch.bfloat16: 1.01}.get(dtype, 1e-4)
            assert (found.double() - expected).abs().max() <= step
            if side == 6:
                assert torch.equal(found.double(), cut)


def test_crops_come_in_the_memory_layout_of_the_encoders() -> None:
    frames, action = torch.rand(27, 3, 32, 32), torch.arange(27)
    patches = GRID.crop(frames, GRID.action_origin(action), GRID.scale(action))
    assert patches.is_contiguous(memory_format=torch.channels_last)
    several = action[:, None].expand(-1, 2)
    patches = GRID.crop(frames, GRID.action_origin(several), GRID.scale(several))
    assert patches.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def test_crops_of_some_frames_equal_those_of_copies_of_them() -> None:
    frames, action, rows = torch.rand(4, 3, 32, 32), torch.tensor([26, 3, 11]), torch.tensor([2, 0, 2])
    for actions in (action, action[:, None].expand(-1, 2)):
        where = GRID.place(actions)
        assert torch.equal(GRID.crop(frames, *where, rows=rows), GRID.crop(frames[rows], *where))


def test_one_other_scale_needs_no_scales() -> None:
    grid = PatchGrid(grid=2, frame_size=15, patch_size=6, scales=(2,))
    frames, action = torch.rand(4, 3, 15, 15), torch.arange(4)
    both = PatchGrid(grid=2, frame_size=15, patch_size=6, scales=(1, 2))
    expected = both.crop(frames, both.action_origin(action + 4), both.scale(action + 4))
    assert torch.equal(grid.crop(frames, grid.action_origin(action)), expected)
    assert grid.box(grid.action_origin(action)).tolist() == both.action_box(action + 4).tolist()
    assert (grid.side, grid.last_offset) == (12, 3)


def test_with_several_scales_nobody_can_forget_them() -> None:
    origin = torch.zeros(1, 2, dtype=torch.long)
    for call in (
        lambda: GRID.crop(torch.rand(1, 3, 32, 32), origin),
        lambda: GRID.box(origin),
        lambda: GRID.origin(torch.rand(1, 2)),
        lambda: GRID.uniform_origin(torch.rand(1, 2)),
        lambda: GRID.last_offset,
    ):
        with pytest.raises(ValueError, match="3 scales; give the scale of each patch"):
            call()
    with pytest.raises(ValueError, match="2 scales; give the scale of each patch"):
        PatchGrid(grid=2, frame_size=15, patch_size=6, scales=(1, 2)).box(origin)
    with pytest.raises(ValueError, match="do not fit origins"):
        GRID.crop(torch.rand(1, 3, 32, 32), origin, torch.zeros(2, dtype=torch.long))


@pytest.mark.parametrize(
    ("scales", "words"),
    [
        ((), "one or more numbers above 0"),
        ((1, 0), "one or more numbers above 0"),
        ((1, float("nan")), "one or more numbers above 0"),
        ((1, float("inf")), "one or more numbers above 0"),
        ((1, -0.5), "one or more numbers above 0"),
        ((1, 0.01), "less than one pixel"),
        ((1, 1.01), "16, 16 pixels .* different sides"),
        ((2, 3), "32, 32 pixels .* different sides"),
    ],
)
def test_scales_that_cannot_be_used(scales: tuple[float, ...], words: str) -> None:
    with pytest.raises(UserError, match=f"patch_scales is .*{words}"):
        PatchGrid(grid=3, frame_size=32, patch_size=16, scales=scales)


def test_a_grid_says_what_it_is_and_can_be_copied() -> None:
    assert repr(PatchGrid(grid=3, frame_size=32, patch_size=16)) == "PatchGrid(grid=3, frame_size=32, patch_size=16)"
    assert repr(GRID) == "PatchGrid(grid=3, frame_size=32, patch_size=16, scales=(0.75, 1.0, 1.5))"
    other = copy.deepcopy(GRID)
    assert repr(other) == repr(GRID)
    assert torch.equal(other.action_box(torch.arange(27)), GRID.action_box(torch.arange(27)))


def test_of_two_scales_each_keeps_to_its_own_range() -> None:
    """Origins of the smaller patches are beyond the range of the larger ones, which are cropped, too, and dropped."""
    grid = PatchGrid(grid=2, frame_size=15, patch_size=6, scales=(1, 2))
    frames, action = torch.rand(8, 3, 15, 15), torch.arange(8)
    patches = grid.crop(frames, grid.action_origin(action), grid.scale(action))
    for number, (one, own) in enumerate(zip(grid.each, (action[:4], action[:4]), strict=True)):
        part = slice(4 * number, 4 * number + 4)
        assert torch.equal(patches[part], one.crop(frames[part], one.action_origin(own)))
    # Of two sides that are as near to P, the first is the base.
    assert PatchGrid(grid=2, frame_size=15, patch_size=6, scales=(1.5, 0.5)).base_scale == 0
    assert PatchGrid(grid=2, frame_size=15, patch_size=6, scales=(2, 0.5)).base_scale == 1


@pytest.mark.parametrize("scales", [(1,), (1, 2)])
def test_a_place_has_scales_if_there_are_several(scales: tuple[float, ...]) -> None:
    grid = PatchGrid(grid=2, frame_size=15, patch_size=6, scales=scales)
    action = torch.arange(grid.num_actions)
    origin, scale = grid.place(action)
    assert torch.equal(origin, grid.action_origin(action))
    assert (scale is None) == (len(scales) == 1)
    if scale is not None:
        assert torch.equal(scale, grid.scale(action))


def test_boxes_lie_where_the_actions_lie() -> None:
    grid = PatchGrid(grid=3, frame_size=15, patch_size=6)
    for _ in range(2):
        boxes = grid.action_box(torch.zeros(5, dtype=torch.int64, device="meta"))
        assert (boxes.device.type, boxes.shape) == ("meta", (5, 4))
