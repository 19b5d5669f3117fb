"""Features on a GPU are those on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.features import EpisodeFeatures, FeatureBank, LiveFeatures, build_bank
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.models.recognizer import Recognizer

pytestmark = pytest.mark.gpu

CPU = torch.device("cpu")
VIDEOS = torch.tensor([5, 0, 3, 0])
ACTION = torch.tensor([[0, 4, 8], [2, 6, 1], [7, 7, 3], [5, 0, 2]])


def _features(episodes: EpisodeFeatures, device: torch.device) -> dict[str, Tensor]:
    """Everything that episodes can tell, on the CPU."""
    action = ACTION.to(device)
    steps = torch.arange(3, device=device).expand(4, -1)
    keep = torch.tensor([[True, False, True]], device=device).expand(4, -1)
    found = {
        name: getattr(episodes, name) for name in ("labels", "multi_hot", "true_boxes", "global_map", "global_vector")
    }
    found["motion"] = episodes.motion
    found["local"] = episodes.local(action)
    found["several"] = episodes.local(torch.stack((action, 8 - action), dim=-1))
    found["kept"] = episodes.kept_local_at(steps, action, keep)
    found["full"] = episodes.full()
    assert {value.device.type for value in found.values()} == {device.type}
    return {name: value.cpu() for name, value in found.items()}


def _assert_close(left: dict[str, Tensor], right: dict[str, Tensor], **tolerance: float) -> None:
    for name, value in left.items():
        torch.testing.assert_close(right[name], value, equal_nan=True, **tolerance, msg=lambda text: f"{name}: {text}")  # noqa: B023


@pytest.fixture
def made(shared_list: Path, make_dataset: Callable[..., Any], make_recognizer: Callable[..., Any]) -> Any:
    return make_recognizer(), make_dataset(shared_list)


@pytest.mark.parametrize("resident", ["always", "never"])
@pytest.mark.parametrize("eight_bit", [(), ("global_map", "local")])
def test_a_bank_gives_the_same_numbers(
    made: tuple[Recognizer, ClipDataset], tmp_path: Path, cuda: torch.device, resident: Any, eight_bit: tuple[str, ...]
) -> None:
    build_bank(tmp_path / "bank", *made, device=CPU, shard_videos=2, chunk_videos=1, eight_bit=eight_bit)
    here, there = (FeatureBank(tmp_path / "bank", device=device, resident=resident) for device in (CPU, cuda))
    assert there.resident == (resident == "always")
    expected = _features(here.episodes(VIDEOS), CPU)
    _assert_close(expected, _features(there.episodes(VIDEOS), cuda), rtol=0, atol=0)
    for left, right in zip(here.batches(4, epoch=1), there.batches(4, epoch=1), strict=True):
        assert torch.equal(left.videos, right.videos.cpu())
        assert torch.equal(left.global_map, right.global_map.cpu())


def test_a_bank_that_was_built_there(made: tuple[Recognizer, ClipDataset], tmp_path: Path, cuda: torch.device) -> None:
    build_bank(tmp_path / "here", *made, device=CPU)
    recognizer, dataset = made
    build_bank(tmp_path / "there", recognizer.to(cuda), dataset, device=cuda)
    here, there = (FeatureBank(tmp_path / name, device=CPU).episodes(VIDEOS) for name in ("here", "there"))
    _assert_close(_features(here, CPU), _features(there, CPU), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("workers", [0, 1])
def test_live_features(made: tuple[Recognizer, ClipDataset], cuda: torch.device, workers: int) -> None:
    recognizer, dataset = made
    live = LiveFeatures(recognizer, dataset, device=CPU)
    expected = _features(live.episodes(VIDEOS), CPU)
    first = [batch.global_map for batch in live.batches(4)]
    live = LiveFeatures(recognizer, dataset, device=cuda, workers=workers)
    _assert_close(expected, _features(live.episodes(VIDEOS), cuda), rtol=1e-4, atol=1e-4)
    # Whole passes come through page-locked memory.
    for left, batch in zip(first, live.batches(4), strict=True):
        torch.testing.assert_close(batch.global_map.cpu(), left, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_encoders_of_lower_precision(
    made: tuple[Recognizer, ClipDataset], cuda: torch.device, dtype: torch.dtype
) -> None:
    recognizer, dataset = made
    expected = _features(LiveFeatures(recognizer, dataset, device=CPU).episodes(VIDEOS), CPU)
    live = LiveFeatures(recognizer.to(dtype), dataset, device=cuda)
    found = _features(live.episodes(VIDEOS), cuda)
    assert {found[name].dtype for name in ("global_map", "local", "full")} == {torch.float32}
    _assert_close(expected, found, rtol=0.1, atol=0.1)


def test_crops_are_the_same_pixels(made: tuple[Recognizer, ClipDataset], cuda: torch.device) -> None:
    grid = made[0].grid
    frames = torch.rand(5, 3, 48, 48)
    origin = torch.tensor([[0, 0], [32, 32], [7, 13], [31, 0], [1, 32]])
    assert torch.equal(grid.crop(frames.to(cuda), origin.to(cuda)).cpu(), grid.crop(frames, origin))


def test_crops_of_several_scales_are_close(cuda: torch.device) -> None:
    grid = PatchGrid(grid=3, frame_size=48, patch_size=16, scales=(0.5, 1, 2))
    frames, actions = torch.rand(27, 3, 48, 48), torch.arange(27)
    given = frames, grid.action_origin(actions), grid.scale(actions)
    found = grid.crop(*(part.to(cuda) for part in given)).cpu()
    torch.testing.assert_close(found, grid.crop(*given))
    assert torch.equal(grid.action_box(actions.to(cuda)).cpu(), grid.action_box(actions))
