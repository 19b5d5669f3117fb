"""Frame differences: closed forms, a plain loop over pixels, and the same from clips and from tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.features import FeatureBank, LiveFeatures
from adafocus_rl.features.build import build_bank
from adafocus_rl.features.motion import THUMBNAIL, frame_differences, patch_means, thumbnails
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.models.recognizer import Recognizer

CPU = torch.device("cpu")


def test_thumbnails_are_means_over_areas_and_channels() -> None:
    frames = torch.rand(2, 3, 4 * THUMBNAIL, 4 * THUMBNAIL)
    found = thumbnails(frames)
    assert found.shape == (2, THUMBNAIL, THUMBNAIL)
    for row, column in ((0, 0), (5, 17), (31, 31)):
        area = frames[1, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        torch.testing.assert_close(found[1, row, column], area.mean())


def test_differences_are_to_the_frame_before() -> None:
    pictures = torch.tensor([1.0, 3.0, 2.5]).view(1, 3, 1, 1).expand(2, -1, 2, 2)
    found = frame_differences(pictures)
    assert found[0, :, 0, 0].tolist() == [0, 2, 0.5]
    later = pictures.clone()
    later[:, 2] = 9
    assert torch.equal(frame_differences(later)[:, :2], found[:, :2])  # nobody sees the future


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(8, 40), st.data())
def test_patch_means_equal_a_loop_over_pixels(grid: int, frame: int, data: st.DataObject) -> None:
    patch = data.draw(st.integers(1, frame))
    geometry = PatchGrid(grid=grid, frame_size=frame, patch_size=patch)
    side = 8
    values = torch.rand(2, side, side, dtype=torch.float64)
    # Every cell as frame × frame equal pieces: a patch covers whole pieces.
    fine = values.repeat_interleave(frame, 1).repeat_interleave(frame, 2)
    found = patch_means(values, geometry)
    for action in range(grid * grid):
        top, left = (side * v for v in geometry.action_origin(torch.tensor(action)).tolist())
        expected = fine[:, top : top + side * patch, left : left + side * patch].mean((1, 2))
        torch.testing.assert_close(found[:, action], expected, rtol=1e-5, atol=1e-5)


def test_live_features_and_a_bank_agree(
    shared_list: Path,
    make_dataset: Callable[..., ClipDataset],
    make_recognizer: Callable[..., Recognizer],
    tmp_path: Path,
) -> None:
    dataset, recognizer = make_dataset(shared_list), make_recognizer()
    build_bank(tmp_path, recognizer, dataset, device=CPU)
    rows = torch.tensor([4, 0, 3])
    live = LiveFeatures(recognizer, dataset, device=CPU).episodes(rows).motion
    bank = FeatureBank(tmp_path, device=CPU).episodes(rows).motion
    assert bank is not None
    assert live.shape == (3, 3, THUMBNAIL, THUMBNAIL)
    assert live[:, 0].eq(0).all()
    assert live[:, 1:].gt(0.01).any()
    torch.testing.assert_close(bank, live, atol=2e-3, rtol=0)
