"""Patches of several scales, live and in a bank."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from adafocus_rl import checkpoint
from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.errors import UserError
from adafocus_rl.features import FeatureBank, GivenClips, LiveFeatures, build_bank
from adafocus_rl.features.expected import expected_manifests
from adafocus_rl.features.motion import patch_means
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.models.config import ClassifierConfig, EncoderConfig, ModelConfig
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.models.saving import load_recognizer, recognizer_manifest, restore_recognizer, save_recognizer

CPU = torch.device("cpu")
SCALES = (0.75, 1.0, 1.5)
MakeDataset = Callable[..., ClipDataset]
MakeRecognizer = Callable[..., Recognizer]


@pytest.fixture(scope="module")
def built(
    shared_list: Path,
    make_dataset: MakeDataset,
    make_recognizer: MakeRecognizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Recognizer, ClipDataset]:
    """A whole bank that tests only read."""
    folder = tmp_path_factory.mktemp("scales") / "bank"
    recognizer, dataset = make_recognizer(patch_scales=SCALES), make_dataset(shared_list)
    build_bank(folder, recognizer, dataset, device=CPU, shard_videos=4, chunk_videos=2)
    return folder, recognizer, dataset


def test_live_features_equal_the_bank(built: tuple[Path, Recognizer, ClipDataset]) -> None:
    folder, recognizer, dataset = built
    bank, live = FeatureBank(folder, device=CPU), LiveFeatures(recognizer, dataset, device=CPU)
    assert repr(bank.grid) == repr(live.grid) == repr(recognizer.grid)
    videos, every = torch.tensor([5, 0, 3]), torch.arange(27).expand(3, 3, -1)
    stored, computed = bank.episodes(videos), live.episodes(videos)
    expected = stored.local(every)
    torch.testing.assert_close(computed.local(every), expected, rtol=1e-3, atol=1e-4)
    # Patches of different scales in the same place differ by much more than float16 rounds.
    assert (expected[..., 4, :] - expected[..., 13, :]).abs().max() > 5e-3
    step, action = torch.tensor([[2, 0], [1, 1], [0, 2]]), torch.tensor([[0, 13], [26, 7], [20, 9]])
    keep = torch.tensor([[True, False], [True, True], [False, True]])
    for episodes in (stored, computed):
        found = episodes.kept_local_at(step, action, keep)
        rows = torch.arange(3)[:, None]
        wanted = torch.where(keep[..., None], expected[rows, step, action], 0.0)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_features_are_those_of_the_resized_crops(built: tuple[Path, Recognizer, ClipDataset]) -> None:
    _, recognizer, dataset = built
    episodes = LiveFeatures(recognizer, dataset, device=CPU).episodes(torch.tensor([2]))
    action = torch.tensor([[3, 10, 25]])
    found = episodes.local(action)[0]
    for step, (top, left, side, _) in enumerate(recognizer.grid.action_box(action)[0].tolist()):
        cut = episodes.frames[step, None, :, top : top + side, left : left + side]
        resized = F.interpolate(cut, size=(16, 16), mode="bilinear", antialias=True)
        torch.testing.assert_close(found[step], recognizer.focus(resized)[0].detach(), rtol=1e-5, atol=1e-5)


def test_the_manifest_names_the_scales_and_other_scales_are_stale(
    built: tuple[Path, Recognizer, ClipDataset], make_recognizer: MakeRecognizer
) -> None:
    folder, recognizer, dataset = built
    manifests = expected_manifests(recognizer, dataset)
    assert manifests["local"]["patch_scales"] == list(SCALES)
    assert manifests["local"]["shape"][0] == 27
    assert [name for name, entries in manifests.items() if "patch_scales" in entries] == ["local"]
    FeatureBank(folder, device=CPU, expected=manifests)
    plain = expected_manifests(make_recognizer(), dataset)
    assert "patch_scales" not in plain["local"]
    for scales, words in (((1.0,), "null now"), ((0.75, 1.0, 2.0), r"\[0.75, 1.0, 2.0\] now")):
        other = expected_manifests(make_recognizer(patch_scales=scales), dataset)
        with pytest.raises(UserError, match=rf"patch_scales is \[0.75, 1.0, 1.5\] there and {words}"):
            FeatureBank(folder, device=CPU, expected=other)


@pytest.mark.parametrize("scales", ["1", [], [0], [1, "a"], [1e400], [10**400], {"a": 1}, [1, 1], None])
def test_nonsense_in_a_manifest_is_one_sentence(
    built: tuple[Path, Recognizer, ClipDataset], tmp_path: Path, scales: Any
) -> None:
    folder = tmp_path / "bank"
    for path in built[0].rglob("*"):
        if path.is_file():
            copy = folder / path.relative_to(built[0])
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    path = folder / "local" / "manifest.json"
    content = json.loads(path.read_text())
    del content["checksum"]
    path.write_text(json.dumps({**content, "patch_scales": scales}))
    with pytest.raises(UserError):
        FeatureBank(folder, device=CPU)


def test_motion_is_averaged_over_the_patches_of_each_scale() -> None:
    grid = PatchGrid(grid=3, frame_size=12, patch_size=4, scales=(0.5, 1, 2))
    values = torch.rand(2, 12, 12, dtype=torch.float64)
    found = patch_means(values, grid)
    for action, (top, left, side, _) in enumerate(grid.action_box(torch.arange(27)).tolist()):
        expected = values[:, top : top + side, left : left + side].mean((-2, -1))
        torch.testing.assert_close(found[:, action], expected)


def test_a_checkpoint_of_other_scales_does_not_fit(make_recognizer: MakeRecognizer, tmp_path: Path) -> None:
    plain, scaled = make_recognizer(), make_recognizer(patch_scales=SCALES)
    save_recognizer(tmp_path / "scaled.safetensors", scaled)
    again = load_recognizer(tmp_path / "scaled.safetensors")[0]
    assert again.config.patch_scales == SCALES
    tensors, manifest = checkpoint.load(tmp_path / "scaled.safetensors")
    with pytest.raises(UserError, match=r"patch_scales is \[0.75, 1.0, 1.5\] there and \[1.0\] here"):
        restore_recognizer(plain, tensors, manifest, what="it")
    # A checkpoint of an earlier version does not say that it has one scale.
    earlier = recognizer_manifest(plain)
    del earlier["signature"]["patch_scales"]
    restore_recognizer(plain, tensors, earlier, what="it")
    with pytest.raises(UserError, match="patch_scales"):
        restore_recognizer(scaled, tensors, earlier, what="it")


def test_encoders_of_whole_clips_see_the_same_patch_of_every_frame() -> None:
    torch.manual_seed(0)
    encoders = {
        name: EncoderConfig(name=f"small_{name}", num_frames=frames) for name, frames in (("glance", 2), ("focus", 3))
    }
    config = ModelConfig(
        **encoders, classifier=ClassifierConfig(name="average"), frame_size=32, glance_size=16, patch_size=16, grid=2,
        patch_scales=(0.5, 1.0), num_classes=3,
    )  # fmt: skip
    recognizer = Recognizer(config).eval()
    episodes = GivenClips(recognizer, torch.randn(2, 5, 3, 32, 32)).episodes(torch.arange(2))
    found = episodes.local(torch.tensor([[1], [6]]))[:, 0]
    for video, (top, left, side) in enumerate([(0, 24, 8), (16, 0, 16)]):
        cut = episodes.clips[video, 0].view(3, 3, 32, 32)[..., top : top + side, left : left + side]
        resized = F.interpolate(cut, size=(16, 16), mode="bilinear", antialias=True)
        torch.testing.assert_close(found[video], recognizer.focus(resized).mean(0).detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scales", [(), (0.0,), (float("nan"),), (1.0, 2000.0), tuple(range(1, 70))])
def test_scales_out_of_range_are_refused(scales: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match=r"patch_scales is .*; give 1 to 64 numbers above 0 and at most 1024"):
        ModelConfig(patch_scales=scales)
