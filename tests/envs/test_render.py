"""Pictures: every pixel of an outline is where the box says, and captions fit."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import ImageFont

from adafocus_rl.envs.render import (
    CHOSEN_COLOR,
    CROP_COLOR,
    HEAT_COLOR,
    TRUE_COLOR,
    Crop,
    draw_boxes,
    draw_caption,
    draw_step,
    heat_cells,
    map_pictures,
)
from adafocus_rl.envs.window import Window
from adafocus_rl.errors import UserError


def _frame(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 100, (height, width, 3), dtype=np.uint8)


def _is(picture: NDArray[np.uint8], color: tuple[int, int, int]) -> NDArray[np.bool_]:
    return (picture == np.array(color, dtype=np.uint8)).all(-1)


def test_heat_lies_in_the_crop() -> None:
    """A crop of 4×4 pixels at (2, 6), which the networks process as 8×8, with a grid of 2×2."""
    crop = Crop(box=(2.0, 6.0, 4.0, 4.0), side=8)
    assert crop.stored((4, 2, 4, 6)) == (4, 7, 2, 3)
    frame = np.zeros((8, 12, 3), dtype=np.uint8)
    heat = np.array([0.0, 0.0, 0.0, 1.0])
    picture = draw_boxes(frame, heat=heat, patch_size=4, crop=crop, min_side=80)
    # Cells as wide as the patches; the last begins in the middle of the crop.
    shaded = picture.any(-1) & ~_is(picture, CROP_COLOR)
    expected = np.zeros((80, 120), dtype=bool)
    expected[40:60, 80:100] = True
    assert np.array_equal(shaded, expected & ~_is(picture, CROP_COLOR))


def test_the_chosen_box_is_outlined_inside_its_own_pixels() -> None:
    frame = _frame(8, 10)
    before = frame.copy()
    picture = draw_boxes(frame, box=(2, 1, 4, 5), min_side=16)
    large = before.repeat(2, axis=0).repeat(2, axis=1)
    expected = np.zeros((16, 20), dtype=bool)
    # Twice as large: rows 4 to 11, columns 2 to 11, with lines of two pixels.
    expected[4:12, 2:12] = True
    expected[6:10, 4:10] = False
    assert (_is(picture, CHOSEN_COLOR) == expected).all()
    assert (picture[~expected] == large[~expected]).all()
    assert (frame == before).all()


def test_the_chosen_box_lies_above_the_true_one() -> None:
    picture = draw_boxes(_frame(16, 16), box=torch.tensor([0, 0, 8, 8]), true_box=(0.0, 4.0, 8.0, 8.0), min_side=16)
    assert _is(picture, TRUE_COLOR)[0, 8:12].all()
    assert _is(picture, CHOSEN_COLOR)[0, :8].all()


@pytest.mark.parametrize("box", [None, (np.nan,) * 4, (0, 0, 0, 0)])
def test_no_box_draws_nothing(box: Any) -> None:
    frame = _frame(16, 16)
    assert (draw_boxes(frame, box=box, true_box=box, min_side=16) == frame).all()


def test_a_skipped_frame_is_dark_and_its_patch_thin() -> None:
    frame = np.full((16, 16, 3), 100, dtype=np.uint8)
    picture = draw_boxes(frame, box=(2, 3, 6, 5), kept=False, min_side=16)
    expected = np.zeros((16, 16), dtype=bool)
    expected[2:8, 3:8] = True
    expected[3:7, 4:7] = False
    assert (_is(picture, CHOSEN_COLOR) == expected).all()
    assert (picture[~expected] == 40).all()


def test_the_path_joins_the_centres_of_the_patches() -> None:
    frame = np.zeros((32, 32, 3), dtype=np.uint8)
    boxes = [(0, 0, 8, 8), (0, 16, 8, 8), (20, 16, 8, 8)]
    picture = draw_boxes(frame, path=boxes, min_side=32)
    expected = np.zeros((32, 32), dtype=bool)
    # From (4, 4) to the right to (4, 20), and down to (24, 20).
    expected[4, 4:21] = True
    expected[4:25, 20] = True
    drawn = _is(picture, CHOSEN_COLOR)
    assert drawn[expected].all()
    # Besides, the head of an arrow that points down to the last centre and is 8 pixels long.
    rows, columns = (drawn & ~expected).nonzero()
    assert 15 <= rows.min() <= 17
    assert rows.max() <= 24
    widths = [np.ptp(columns[rows == row]) for row in range(rows.min(), rows.max() + 1)]
    assert widths == sorted(widths, reverse=True)
    assert not draw_boxes(frame, path=boxes[:1], min_side=32).any()


def test_probabilities_shade_the_middles_of_their_patches() -> None:
    # 2×2 patches of side 4 on a frame of side 6 start at 0 and 2; they are told apart by squares of 2 in their middles.
    assert heat_cells(4, frame_size=6, patch_size=4) == [(1, 1, 2, 2), (1, 3, 2, 2), (3, 1, 2, 2), (3, 3, 2, 2)]
    assert heat_cells(1, frame_size=6, patch_size=4) == [(1, 1, 4, 4)]
    heat = np.array([0.2, 0.0, 0.0, 0.4])
    picture = draw_boxes(np.zeros((6, 6, 3), dtype=np.uint8), heat=heat, patch_size=4, min_side=6).astype(int)
    full, half = (np.array(HEAT_COLOR) * share for share in (0.75, 0.375))
    assert np.abs(picture[3:5, 3:5] - full).max() <= 1
    assert np.abs(picture[1:3, 1:3] - half).max() <= 1
    picture[3:5, 3:5] = picture[1:3, 1:3] = 0
    assert not picture.any()


@pytest.mark.parametrize(("shape", "size"), [((7, 9), (224, 288)), ((224, 300), (224, 300)), ((64, 64), (256, 256))])
def test_small_frames_are_enlarged_by_a_whole_factor(shape: tuple[int, int], size: tuple[int, int]) -> None:
    assert draw_boxes(_frame(*shape)).shape == (*size, 3)


@pytest.mark.parametrize("width", [224, 256, 448, 1920])
def test_captions_fit_and_can_be_read(width: int) -> None:
    frame = _frame(30, width)
    picture = draw_caption(frame, "step 10/16  p(true) 0.42")
    assert (picture[:30] == frame).all()
    ink = (picture[30:] < 128).all(-1)
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    assert rows[-1] - rows[0] >= 8
    # White all around: nothing is cut off.
    assert rows[0] > 0
    assert rows[-1] < len(ink) - 1
    assert columns[0] > 0
    assert columns[-1] < width - 1


def test_the_caption_tells_step_and_confidence() -> None:
    frame = _frame(32, 32)
    options = {"num_steps": 8, "box": (0, 0, 16, 16)}
    pictures = [
        draw_step(frame, step=step, confidence=confidence, **options)
        for step, confidence in [(0, None), (1, 0.5), (2, 0.5), (1, 0.25)]
    ]
    assert len({picture.shape for picture in pictures}) == 1
    assert len({picture.tobytes() for picture in pictures}) == 4


def test_maps_become_grey_pictures_over_the_clip_s_range() -> None:
    maps = torch.tensor([[[[0.0, 1.0], [2.0, 5.0]], [[0.0, 1.0], [2.0, 3.0]]], [[[2.0, 0.0], [0.0, 0.0]]] * 2][0])[None]
    pictures = map_pictures(maps, side=4)
    assert (pictures.shape, pictures.dtype) == ((1, 3, 4, 4), torch.uint8)
    # Means 0, 1, 2, 4 of a range of 4.
    assert pictures[0, 0].tolist() == [[0, 0, 64, 64]] * 2 + [[128, 128, 255, 255]] * 2
    assert (pictures[:, 0] == pictures[:, 2]).all()
    assert map_pictures(torch.ones(2, 1, 2, 2), side=2).eq(0).all()


# ---- the window -------------------------------------------------------------------------------------------------


def test_without_a_screen_or_windows_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:   QT5\n")
    with pytest.raises(UserError, match="no screen"):
        Window("title", fps=4)
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:   NONE\n")
    with pytest.raises(UserError, match="opencv-python-headless"):
        Window("title", fps=4)


@pytest.mark.parametrize("driver", ["dummy", "offscreen"])
def test_a_driver_that_shows_nothing_needs_no_window(monkeypatch: pytest.MonkeyPatch, driver: str) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:   NONE\n")
    for call in ("imshow", "waitKey", "destroyWindow"):
        monkeypatch.delattr(cv2, call, raising=False)
    monkeypatch.setenv("SDL_VIDEODRIVER", driver)
    window = Window("title", fps=4)
    window.show(np.zeros((2, 2, 3), dtype=np.uint8))
    window.close()
    monkeypatch.delenv("SDL_VIDEODRIVER")
    with pytest.raises(UserError, match="set SDL_VIDEODRIVER=dummy to show nothing"):
        Window("title", fps=4)
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:   QT5\n")
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    Window("title", fps=4)  # Qt has a window for that


def test_a_window_shows_opencv_s_order_of_colors(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:   QT5\n")
    monkeypatch.setattr(cv2, "imshow", lambda title, picture: calls.append((title, picture[0, 0].tolist())))
    monkeypatch.setattr(cv2, "waitKey", calls.append)
    monkeypatch.setattr(cv2, "destroyWindow", calls.append)
    window = Window("title", fps=4)
    window.close()
    window.show(np.full((2, 2, 3), (1, 2, 3), dtype=np.uint8))
    window.close()
    window.close()
    assert calls == [("title", [3, 2, 1]), 250, "title"]


def test_letters_beyond_latin_are_no_empty_boxes() -> None:
    try:
        ImageFont.truetype("DejaVuSans.ttf", 11)
    except OSError:
        pytest.skip("no DejaVu fonts on this system")
    frame = _frame(30, 448)
    # What a font does not have it shows as one and the same box.
    first, second = (draw_caption(frame, text)[30:] for text in ("λππ", "πλλ"))
    assert (first != second).any()
