"""Clips as one step: two sets of frames of one augmented clip, one position, mean features; against plain loops."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from adafocus_rl.data.dataset import ClipDataset, make_loader
from adafocus_rl.data.index import VideoIndex
from adafocus_rl.data.sampling import segment_indices
from adafocus_rl.data.transform_options import TransformConfig
from adafocus_rl.errors import UserError
from adafocus_rl.features import LiveFeatures, build_bank
from adafocus_rl.models.config import ClassifierConfig, EncoderConfig, ModelConfig
from adafocus_rl.models.recognizer import Recognizer

CPU = torch.device("cpu")
CONFIG = ModelConfig(
    glance=EncoderConfig(name="small_glance", num_frames=2),
    focus=EncoderConfig(name="tsm_resnet18", num_frames=3),
    classifier=ClassifierConfig(name="average", dropout=0.5),
    frame_size=48,
    glance_size=24,
    patch_size=16,
    grid=3,
    num_classes=3,
)


def make(path: Path, frames: tuple[int, ...] = (2, 3), *, train: bool = False) -> ClipDataset:
    transform = TransformConfig(frame_size=48, crop="multiscale", flip=True)
    return ClipDataset(VideoIndex.read(path), num_frames=frames, transform=transform, train=train, seed=0)


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    torch.manual_seed(0)
    return Recognizer(CONFIG).eval()


def test_both_sets_are_spread_over_the_whole_video(shared_list: Path) -> None:
    clip = make(shared_list)[0]
    expected = [segment_indices(7, size, rng=None) for size in (2, 3)]
    assert clip.frames.tolist() == np.concatenate(expected).tolist() == [1, 5, 1, 3, 5]
    assert torch.equal(clip.clip[0], clip.clip[2])
    assert torch.equal(clip.clip[1], clip.clip[4])


def test_both_sets_share_the_augmentation(shared_list: Path) -> None:
    """Seven of seven frames, twice: whatever is drawn for the clip, a frame looks the same in both sets."""
    dataset = make(shared_list, (7, 7), train=True)
    different = set()
    for epoch in range(6):
        dataset.set_epoch(epoch)
        clip = dataset[1].clip
        assert torch.equal(clip[:7], clip[7:])
        different.add(clip.sum().item())
    assert len(different) > 1


def test_features_are_those_of_a_plain_loop(shared_list: Path, recognizer: Recognizer) -> None:
    dataset = make(shared_list)
    live = LiveFeatures(recognizer, dataset, device=CPU)
    assert (live.num_steps, live.map_shape, live.vector_dim, live.local_dim) == (1, (2 * 64, 12, 12), 64, 512)
    rows = [3, 0]
    episodes = live.episodes(torch.tensor(rows))
    position = torch.tensor([[[0.0, 1.0]], [[0.3, 0.6]]])
    local = episodes.local_at_position(torch.zeros(2, 1, dtype=torch.long), position)
    full = episodes.full()
    assert (episodes.num_steps, local.shape, full.shape) == (1, (2, 1, 512), (2, 1, 512))
    for at, row in enumerate(rows):
        frames = recognizer.prepare(dataset[row].clip)
        with torch.no_grad():
            maps, vectors = recognizer.glance_features(frames[:2])
            top, left = (int(32 * part) for part in position[at, 0].tolist())
            patches = frames[2:, :, top : top + 16, left : left + 16]
            torch.testing.assert_close(episodes.global_map[at, 0], torch.cat(list(maps)))
            torch.testing.assert_close(episodes.global_vector[at, 0], (vectors[0] + vectors[1]) / 2)
            # The three frames of the clip together, for the network shifts between them.
            torch.testing.assert_close(local[at, 0], recognizer.focus(patches).mean(0))
            torch.testing.assert_close(full[at, 0], recognizer.focus(frames[2:]).mean(0))


def test_logits_are_mean_logits_of_one_network_plus_those_of_the_other(recognizer: Recognizer) -> None:
    heads = torch.nn.Linear(64, 3), torch.nn.Linear(512, 3)
    recognizer.classifier.begin_with(*heads)  # type: ignore[operator]
    glance, focus = torch.randn(4, 2, 64), torch.randn(4, 3, 512)
    with torch.no_grad():
        expected = heads[0](glance).mean(1) + heads[1](focus).mean(1)
        found = recognizer.classifier(torch.cat((glance.mean(1), focus.mean(1)), dim=-1)[:, None])
    torch.testing.assert_close(found, expected[:, None])


def test_the_true_box_is_in_the_middle_of_those_that_f_l_could_see(shared_list: Path, recognizer: Recognizer) -> None:
    live = LiveFeatures(recognizer, make(shared_list), device=CPU)
    (batch,) = make_loader(live.dataset, batches=[[0, 1]])
    boxes = live.episodes(torch.tensor([0, 1])).true_boxes
    assert boxes.shape == (2, 1, 4)
    torch.testing.assert_close(boxes[0, 0], batch.true_boxes[0, 2:].mean(0))
    assert boxes[1].isnan().all()


def test_a_bank_is_refused(shared_list: Path, recognizer: Recognizer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="look at a clip's frames together; use live features"):
        build_bank(tmp_path, recognizer, make(shared_list), device=CPU)


@pytest.mark.parametrize(
    ("glance", "focus", "message"),
    [
        (2, None, r"model\.glance\.num_frames is 2 and model\.focus\.num_frames is None; give both"),
        (None, None, r"model\.focus is tsm_resnet18, which looks at the frames of a clip together; say at how many"),
    ],
)
def test_impossible_numbers_are_refused(glance: int | None, focus: int | None, message: str) -> None:
    parts = {"glance": dataclasses.replace(CONFIG.glance, num_frames=glance)}
    parts["focus"] = dataclasses.replace(CONFIG.focus, num_frames=focus)
    with pytest.raises(UserError, match=message):
        Recognizer(dataclasses.replace(CONFIG, **parts))
