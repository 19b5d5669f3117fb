"""Clips and batches through real files: the same for any number of workers, and honest about bad files."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from adafocus_rl.data.dataset import BadClip, Clip, ClipBatch, ClipDataset, collate, make_loader
from adafocus_rl.data.index import VideoIndex
from adafocus_rl.data.transform_options import TransformConfig
from adafocus_rl.errors import UserError

Frames = NDArray[np.uint8]
ReadNumbers = Callable[[Frames], list[int]]
PLAIN = TransformConfig(frame_size=48, resize_short=0, crop="none", flip=False)


def _dataset(
    path: Path, *, train: bool, seed: int = 0, transform: TransformConfig = PLAIN, frames: int = 4
) -> ClipDataset:
    index = VideoIndex.read(path)
    return ClipDataset(index, num_frames=frames, transform=transform, train=train, seed=seed)


def _clip(dataset: ClipDataset, i: int) -> Clip:
    item = dataset[i]
    assert isinstance(item, Clip)
    return item


def _batches(loader: torch.utils.data.DataLoader[Clip | BadClip]) -> list[ClipBatch]:
    return list(loader)  # type: ignore[arg-type]  # what the loader yields is what collate makes


def _equal(a: ClipBatch, b: ClipBatch) -> bool:
    names = ("clips", "labels", "multi_hot", "frames", "rows")
    same = all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)
    return same and torch.equal(a.true_boxes.nan_to_num(-1), b.true_boxes.nan_to_num(-1)) and a.failed == b.failed


@pytest.mark.parametrize("train", [True, False])
def test_clip_holds_the_frames_it_says(video_list: Path, read_numbers: ReadNumbers, train: bool) -> None:
    dataset = _dataset(video_list, train=train)
    assert len(dataset) == 4
    for i in range(4):
        clip = _clip(dataset, i)
        assert clip.clip.shape == (4, 3, 48, 48)
        assert clip.clip.dtype == torch.uint8
        # The centre crop of 64 columns keeps 24 of the left half's 32.
        stripes = clip.clip[:, :, :, :24].repeat_interleave(2, dim=3)
        assert read_numbers(stripes.permute(0, 2, 3, 1).numpy()) == clip.frames.tolist()
        assert clip.row == i
        assert clip.true_boxes.isnan().all()
    if not train:
        # 30 frames, counted because the list does not say; then 12, 20 and 5.
        assert _clip(dataset, 0).frames.tolist() == [3, 11, 18, 26]
        assert _clip(dataset, 1).frames.tolist() == [1, 4, 7, 10]
        assert _clip(dataset, 3).frames.tolist() == [0, 1, 3, 4]


def test_labels_are_single_and_multi_hot(video_list: Path) -> None:
    dataset = _dataset(video_list, train=False)
    clip = _clip(dataset, 2)
    assert clip.label == 2
    assert clip.label.dtype == torch.int64
    assert clip.multi_hot.tolist() == [0, 0, 1, 1]


def test_label_beyond_the_classes_is_refused(video_list: Path) -> None:
    index = VideoIndex.read(video_list)
    with pytest.raises(UserError, match=r"2\.mp4 has the label 3; expected 0 to 2 for 3 classes"):
        ClipDataset(index, num_frames=4, transform=PLAIN, train=True, seed=0, num_classes=3)


def test_short_video_repeats_its_last_frame(video_list: Path) -> None:
    assert _clip(_dataset(video_list, train=True, frames=8), 3).frames.tolist() == [0, 1, 2, 3, 4, 4, 4, 4]


def test_epochs_and_seeds_change_training_clips_and_nothing_else_does(video_list: Path) -> None:
    transform = TransformConfig(frame_size=32)

    def clips(seed: int, epoch: int, order: list[int]) -> dict[int, Clip]:
        dataset = _dataset(video_list, train=True, seed=seed, transform=transform)
        dataset.set_epoch(epoch)
        assert dataset.epoch == epoch
        return {i: _clip(dataset, i) for i in order}

    first = clips(0, 0, [0, 1, 2])
    torch.manual_seed(1234)
    state = torch.get_rng_state()
    again = clips(0, 0, [2, 0, 0, 1])
    # The caller's generator neither matters nor moves.
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(first[i].clip, again[i].clip) for i in range(3))
    for other in (clips(0, 1, [0, 1, 2]), clips(1, 0, [0, 1, 2])):
        assert any(not torch.equal(first[i].frames, other[i].frames) for i in range(3))
        assert any(not torch.equal(first[i].clip, other[i].clip) for i in range(3))


def test_evaluation_clips_do_not_change(video_list: Path) -> None:
    one, other = (_dataset(video_list, train=False, seed=seed) for seed in (0, 1))
    other.set_epoch(5)
    assert all(torch.equal(_clip(one, i).clip, _clip(other, i).clip) for i in range(4))


def _pass(loader: torch.utils.data.DataLoader[Clip | BadClip], dataset: ClipDataset, epoch: int) -> list[ClipBatch]:
    dataset.set_epoch(epoch)
    with warnings.catch_warnings():
        # Python 3.12 and later warn of any fork beside threads; torch has threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        return _batches(loader)


def test_batches_do_not_depend_on_workers(video_list: Path) -> None:
    passes = []
    for workers in (0, 1, 2):
        dataset = _dataset(video_list, train=True, transform=TransformConfig(frame_size=32))
        loader = make_loader(dataset, batch_size=3, shuffle=True, workers=workers)
        # Several epochs through one loader: workers that live on must see the epoch change.
        passes.append([_pass(loader, dataset, epoch) for epoch in (0, 1, 5)])
    for other in passes[1:]:
        for epochs in zip(passes[0], other, strict=True):
            assert all(_equal(a, b) for a, b in zip(*epochs, strict=True))
    first = passes[0]
    assert [len(batch) for batch in first[0]] == [3, 1]
    orders = [torch.cat([batch.rows for batch in batches]).tolist() for batches in first]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    frames = [{int(v): f.tolist() for b in batches for v, f in zip(b.rows, b.frames, strict=True)} for batches in first]
    assert frames[0] != frames[1]


def test_loader_takes_an_order_or_whole_batches(video_list: Path) -> None:
    dataset = _dataset(video_list, train=False)
    ordered = _batches(make_loader(dataset, batch_size=2, order=[3, 1, 0]))
    assert [batch.rows.tolist() for batch in ordered] == [[3, 1], [0]]
    listed = _batches(make_loader(dataset, batches=[[2], [0, 1, 3]]))
    assert [batch.rows.tolist() for batch in listed] == [[2], [0, 1, 3]]
    plain = _batches(make_loader(dataset, batch_size=3, drop_last=True))
    assert [batch.rows.tolist() for batch in plain] == [[0, 1, 2]]
    with pytest.raises(ValueError, match="either batch_size or batches"):
        make_loader(dataset, batch_size=2, batches=[[0]])
    with pytest.raises(ValueError, match="not both shuffle and order"):
        make_loader(dataset, batch_size=2, shuffle=True, order=[0])


def test_a_pass_leaves_the_default_generator_alone(video_list: Path) -> None:
    dataset = _dataset(video_list, train=True)
    state = torch.get_rng_state()
    _batches(make_loader(dataset, batch_size=2, shuffle=True))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_videos_are_named_and_not_replaced(video_list: Path, workers: int) -> None:
    folder = video_list.parent
    (folder / "text.mp4").write_text("not a video")
    (folder / "empty.mp4").touch()
    with video_list.open("a") as file:
        file.write("text.mp4,0,10\nempty.mp4,0,\ngone.mp4,1,10\n")
    # The list says 90 frames where the file holds 12.
    video_list.write_text(video_list.read_text().replace("1.mp4,1,12", "1.mp4,1,90"))
    dataset = _dataset(video_list, train=False)
    batches = _pass(make_loader(dataset, batch_size=3, workers=workers), dataset, 0)
    assert [batch.rows.tolist() for batch in batches] == [[0, 2], [3], []]
    failed = dict(pair for batch in batches for pair in batch.failed)
    assert list(failed) == ["1.mp4", "text.mp4", "empty.mp4", "gone.mp4"]
    assert "truncated: wanted frame 33, only 12 decode" in failed["1.mp4"]
    assert "not a video" in failed["text.mp4"]
    assert "0 bytes" in failed["empty.mp4"]
    assert "no such file" in failed["gone.mp4"]
    # A batch of bad videos only still has the shapes of a batch.
    last = batches[-1]
    assert len(last) == 0
    assert last.clips.shape == (0, 4, 3, 48, 48)
    assert last.multi_hot.shape == (0, 4)
    assert last.true_boxes.shape == (0, 4, 4)
    assert (last.labels.dtype, last.clips.dtype) == (torch.int64, torch.uint8)


def test_frames_smaller_than_the_clip_are_named_when_resizing_is_off(video_list: Path) -> None:
    transform = TransformConfig(frame_size=64, resize_short=0, crop="none")
    item = _dataset(video_list, train=True, transform=transform)[0]
    assert isinstance(item, BadClip)
    assert "48×64 pixels are smaller than frame_size 64" in item.reason


def test_boxes_are_those_of_the_sampled_frames(video_list: Path) -> None:
    rows = [f"1.mp4,{frame},{frame},20,10,8" for frame in range(6)]
    text = "path,frame,top,left,height,width\n" + "\n".join(rows) + "\n0.mp4,3,40,0,8,12\n"
    video_list.with_name("list_boxes.csv").write_text(text)
    dataset = _dataset(video_list, train=False)
    # Frames 1, 4, 7, 10; the crop takes 8 columns away on the left.
    boxes = _clip(dataset, 1).true_boxes
    assert boxes[:2].tolist() == [[1, 12, 10, 8], [4, 12, 10, 8]]
    assert boxes[2:].isnan().all()
    # A video of unknown length whose last box lies before the last sampled frame.
    boxes = _clip(dataset, 0).true_boxes
    assert boxes[0].tolist() == [40, 0, 8, 4]
    assert boxes[1:].isnan().all()
    assert _clip(dataset, 2).true_boxes.isnan().all()


def test_collate_moves_and_refuses_nothing(video_list: Path) -> None:
    batch = collate([_dataset(video_list, train=False)[0]])
    moved = batch.to("meta")
    assert moved.clips.device.type == "meta"
    assert moved.true_boxes.shape == (1, 4, 4)
    with pytest.raises(ValueError, match="at least one"):
        collate([])


def test_broken_installation_stops_instead_of_counting_bad_videos(
    video_list: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise UserError("OpenCV cannot be imported")

    monkeypatch.setattr("adafocus_rl.data.dataset.opencv", broken)
    with pytest.raises(UserError, match="OpenCV"):
        _dataset(video_list, train=False)
