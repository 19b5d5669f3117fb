from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adafocus_rl import crops
from adafocus_rl.crops import LARGE_PATCH
from adafocus_rl.errors import UserError
from adafocus_rl.geometry import PatchGrid

PUBLISHED = [(224, patch, grid) for patch in (96, 128, 144, 160, 176, 192) for grid in (5, 6, 7, 8)]


@st.composite
def grids(draw: st.DrawFn) -> PatchGrid:
    side = draw(st.integers(1, 300))
    return PatchGrid(grid=draw(st.integers(1, 12)), frame_size=side, patch_size=draw(st.integers(1, side)))


def _exact_origin(grid: PatchGrid, action: int) -> tuple[int, int]:
    """floor(position · (S − P)) over the rationals."""
    if grid.grid == 1:
        return (grid.last_offset // 2,) * 2
    row, column = (Fraction(k, grid.grid - 1) * grid.last_offset for k in divmod(action, grid.grid))
    return row.numerator // row.denominator, column.numerator // column.denominator


def _check_origins(grid: PatchGrid) -> None:
    actions = torch.arange(grid.num_actions)
    expected = [_exact_origin(grid, int(action)) for action in actions]
    assert grid.action_origin(actions).tolist() == [list(origin) for origin in expected]


@pytest.mark.parametrize(("side", "patch", "number"), PUBLISHED)
def test_origins_of_published_grids_are_floors_of_the_exact_products(side: int, patch: int, number: int) -> None:
    _check_origins(PatchGrid(grid=number, frame_size=side, patch_size=patch))


@given(grids())
def test_origins_are_floors_of_the_exact_products(grid: PatchGrid) -> None:
    _check_origins(grid)


@given(grids())
def test_first_and_last_action_touch_the_edges(grid: PatchGrid) -> None:
    if grid.grid > 1:
        origins = grid.action_origin(torch.tensor([0, grid.num_actions - 1]))
        assert origins.tolist() == [[0, 0], [grid.last_offset, grid.last_offset]]


@given(grids(), st.integers(0, 10**6))
def test_action_undoes_position(grid: PatchGrid, number: int) -> None:
    action = torch.tensor([number % grid.num_actions])
    assert torch.equal(grid.action(grid.position(action)), action)


@given(grids(), st.tuples(st.floats(-0.5, 1.5), st.floats(-0.5, 1.5)))
def test_action_is_the_nearest_position(grid: PatchGrid, where: tuple[float, float]) -> None:
    position = torch.tensor(where, dtype=torch.float64)
    distance = (grid.position(torch.arange(grid.num_actions)) - position.clamp(0, 1)).norm(dim=-1)
    # A tie may go either way.
    assert distance[grid.action(position)] <= distance.min() + 1e-6


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
@pytest.mark.parametrize("several", [False, True])
def test_crops_equal_a_plain_loop(dtype: torch.dtype, several: bool) -> None:
    grid = PatchGrid(grid=3, frame_size=11, patch_size=4)
    frames = torch.randint(256, (3, 2, 11, 11)).to(dtype)
    # Corners and last offsets first, then one inside.
    options = torch.tensor([[0, 0], [0, 7], [7, 0], [7, 7], [3, 5]])
    origin = torch.stack([options.roll(shift, 0) for shift in range(3)])
    if not several:
        origin = origin[:, 3]
    patches = grid.crop(frames, origin)
    assert patches.shape == ((3, 5, 2, 4, 4) if several else (3, 2, 4, 4))
    assert patches.dtype == dtype
    for sample in range(3):
        for number, (top, left) in enumerate(origin[sample].reshape(-1, 2).tolist()):
            found = patches[sample, number] if several else patches[sample]
            assert torch.equal(found, frames[sample, :, top : top + 4, left : left + 4])


@pytest.mark.parametrize("patch", [LARGE_PATCH - 1, LARGE_PATCH])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_small_patches_are_gathered_and_large_ones_copied(
    patch: int, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[int] = []
    monkeypatch.setattr("adafocus_rl.geometry.copied", lambda *given: copied.append(1) or crops.copied(*given))
    grid = PatchGrid(grid=3, frame_size=70, patch_size=patch)
    frames = torch.rand(5, 3, 70, 70).contiguous(memory_format=layout)
    origin = grid.action_origin(torch.tensor([0, 3, 8, 5, 4]))
    patches = grid.crop(frames, origin)
    for found, frame, (top, left) in zip(patches, frames, origin.tolist(), strict=True):
        assert torch.equal(found, frame[:, top : top + patch, left : left + patch])
    assert patches.is_contiguous(memory_format=torch.channels_last)
    assert len(copied) == (patch >= LARGE_PATCH)
    # Several of a frame never are.
    assert torch.equal(grid.crop(frames, origin[:, None])[:, 0], patches)
    assert len(copied) == (patch >= LARGE_PATCH)
    # Some frames, in another order, one of them twice.
    rows = torch.tensor([4, 0, 4])
    assert torch.equal(grid.crop(frames, origin[rows], rows=rows), patches[rows])
    assert torch.equal(grid.crop(frames, origin[rows][:, None], rows=rows)[:, 0], patches[rows])
    with pytest.raises(ValueError, match="do not fit frames"):
        grid.crop(frames, origin, rows=rows)


def test_crops_come_in_the_memory_layout_of_the_encoders() -> None:
    grid = PatchGrid(grid=2, frame_size=9, patch_size=5)
    patches = grid.crop(torch.zeros(4, 3, 9, 9), torch.zeros(4, 2, dtype=torch.long))
    assert patches.is_contiguous(memory_format=torch.channels_last)


def test_a_patch_as_large_as_the_frame_is_the_frame() -> None:
    grid = PatchGrid(grid=4, frame_size=6, patch_size=6)
    frames = torch.rand(2, 3, 6, 6)
    assert torch.equal(grid.crop(frames, grid.action_origin(torch.tensor([3, 12]))), frames)


@pytest.mark.parametrize(
    ("frames", "origin"),
    [
        ((2, 3, 8, 9), (2, 2)), ((2, 3, 9, 8), (2, 2)), ((2, 9, 9), (2, 2)), ((2, 1, 3, 9, 9), (2, 2)),
        ((2, 3, 9, 9), (3, 2)), ((2, 3, 9, 9), (2, 3)), ((2, 3, 9, 9), (2,)), ((2, 3, 9, 9), (2, 2, 2, 2)),
        ((2, 3, 9, 9), (2, 2, 3)),
    ],
)  # fmt: skip
def test_crop_names_shapes_that_do_not_fit(frames: tuple[int, ...], origin: tuple[int, ...]) -> None:
    grid = PatchGrid(grid=2, frame_size=9, patch_size=5)
    with pytest.raises(ValueError, match="frames"):
        grid.crop(torch.zeros(frames), torch.zeros(origin, dtype=torch.long))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_offset_is_as_likely_and_the_last_is_reached(dtype: torch.dtype) -> None:
    grid = PatchGrid(grid=7, frame_size=224, patch_size=96)
    middle = (torch.arange(129, dtype=dtype) + 0.5) / 129
    assert grid.uniform_origin(middle).tolist() == list(range(129))
    below_one = torch.nextafter(torch.ones((), dtype=dtype), torch.zeros((), dtype=dtype))
    assert grid.uniform_origin(below_one) == 128
    assert grid.uniform_origin(torch.zeros((), dtype=dtype)) == 0


def test_half_precision_positions_are_not_multiplied_in_half_precision() -> None:
    grid = PatchGrid(grid=7, frame_size=1024, patch_size=1)
    position = torch.linspace(0, 1, 200).bfloat16()[:, None].expand(-1, 2)
    assert torch.equal(grid.origin(position), grid.origin(position.double()))
    assert torch.equal(grid.action(position), grid.action(position.double()))


def test_box_and_centered_position() -> None:
    grid = PatchGrid(grid=5, frame_size=100, patch_size=20)
    assert grid.box(torch.tensor([[3, 80]])).tolist() == [[3, 80, 20, 20]]
    # Centre of the box (50, 30) minus half a patch, over 80 pixels of range; then beyond the edges; then absent.
    boxes = torch.tensor([[45.0, 25, 10, 10], [0, 0, 4, 4], [90, 95, 10, 5], [torch.nan] * 4])
    expected = torch.tensor([[40 / 80, 20 / 80], [0, 0], [1, 1], [torch.nan] * 2])
    torch.testing.assert_close(grid.centered_position(boxes), expected, equal_nan=True)
    wide = torch.tensor([40.0, 10, 20, 50])
    assert grid.centered_position(wide).tolist() == [0.5, 25 / 80]
    # One pixel of range: a quarter of it, where the centre is a quarter of a pixel beyond the first patch's.
    narrow = PatchGrid(grid=5, frame_size=21, patch_size=20)
    assert narrow.centered_position(torch.tensor([10.0, 9.75, 0.5, 0.5])).tolist() == [0.25, 0]
    whole = PatchGrid(grid=5, frame_size=20, patch_size=20)
    assert whole.centered_position(boxes[:2]).tolist() == [[0.5, 0.5]] * 2


@pytest.mark.parametrize(("grid", "side", "patch"), [(0, 8, 4), (3, 8, 9), (3, 8, 0)])
def test_impossible_grids_are_refused(grid: int, side: int, patch: int) -> None:
    with pytest.raises(UserError, match=r"grid|patch_size"):
        PatchGrid(grid=grid, frame_size=side, patch_size=patch)


@given(grids())
def test_a_position_of_every_origin_leads_back_to_it(grid: PatchGrid) -> None:
    every = torch.cartesian_prod(*[torch.arange(grid.last_offset + 1)] * 2) if grid.last_offset < 60 else None
    origin = torch.arange(grid.last_offset + 1)[:, None].expand(-1, 2) if every is None else every
    position = grid.origin_position(origin)
    assert position.dtype == torch.float32
    assert ((position >= 0) & (position <= 1)).all()
    assert torch.equal(grid.origin(position), origin)


def test_positions_beyond_the_frame_are_its_edges() -> None:
    grid = PatchGrid(grid=5, frame_size=100, patch_size=20)
    beyond = torch.tensor([[-0.3, 1.4], [1.01, -7.0]])
    assert grid.origin(beyond).tolist() == [[0, 80], [80, 0]]
    assert grid.action(beyond).tolist() == [4, 20]
    # One position is the middle, wherever the frame leaves room.
    assert PatchGrid(grid=1, frame_size=9, patch_size=4).position(torch.tensor([0])).tolist() == [[0.5, 0.5]]
    for last, positions in ((0, [0.5]), (1, [0.5, 1.0]), (2, [0.25, 0.75, 1.0])):
        origin = torch.arange(last + 1)[:, None].expand(-1, 2)
        found = PatchGrid(grid=3, frame_size=8 + last, patch_size=8).origin_position(origin)
        assert found.tolist() == [[position] * 2 for position in positions]


@given(grids(), st.sampled_from([(), (4,), (2, 3), (2, 1, 3)]), st.integers(0, 2**31))
def test_leading_axes_are_kept_and_numbers_of_pixels_are_integers(
    grid: PatchGrid, shape: tuple[int, ...], seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    action = torch.randint(grid.num_actions, shape, generator=draw)
    position = torch.rand(*shape, 2, generator=draw)
    found = {
        "origin": grid.origin(position), "uniform": grid.uniform_origin(position),
        "action_origin": grid.action_origin(action), "box": grid.box(grid.origin(position)),
        "action_box": grid.action_box(action), "action": grid.action(position), "scale": grid.scale(action),
    }  # fmt: skip
    tails = {"box": (4,), "action_box": (4,), "action": (), "scale": ()}
    for name, value in found.items():
        assert value.dtype == torch.int64, name
        assert value.shape == (*shape, *tails.get(name, (2,))), name
    assert grid.position(action).shape == (*shape, 2)
    assert grid.position(action).dtype == torch.float32
    flat = grid.action_box(action.flatten())
    assert torch.equal(flat.view(*shape, 4), found["action_box"])
    assert torch.equal(grid.box(found["action_origin"]), found["action_box"])
