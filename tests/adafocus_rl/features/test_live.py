from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.errors import UserError
from adafocus_rl.features import FULL, LiveFeatures
from adafocus_rl.models.recognizer import Recognizer

CPU = torch.device("cpu")
MakeDataset = Callable[..., ClipDataset]
MakeRecognizer = Callable[..., Recognizer]


def test_patches_at_any_offset_are_those_of_the_frame(
    shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer
) -> None:
    recognizer = make_recognizer()
    episodes = LiveFeatures(recognizer, make_dataset(shared_list), device=CPU).episodes(torch.tensor([3, 1]))
    steps = torch.tensor([[2, 0], [1, 1]])
    origin = torch.tensor([[[32, 32], [0, 5]], [[7, 0], [13, 32]]])
    found = episodes.local_at_origin(steps, origin)
    for video in range(2):
        for at in range(2):
            top, left = origin[video, at].tolist()
            frame = episodes.frames[video * 3 + steps[video, at]]
            with torch.no_grad():
                expected = recognizer.focus(frame[None, :, top : top + 16, left : left + 16])[0]
            torch.testing.assert_close(found[video, at], expected)


def test_an_undecodable_video_is_left_out_once_it_is_known(
    own_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer
) -> None:
    (own_list.parent / "4.mp4").write_bytes(b"")
    live = LiveFeatures(make_recognizer(), make_dataset(own_list), device=CPU)
    assert [batch.videos.tolist() for batch in live.batches(3)] == [[0, 1, 2], [3, 5]]
    assert [path for path, _ in live.failed] == ["4.mp4"]
    assert live.videos.tolist() == [0, 1, 2, 3, 5]
    assert [batch.videos.tolist() for batch in live.batches(3)] == [[0, 1, 2], [3, 5]]
    with pytest.raises(UserError, match=r"cannot decode 4\.mp4: "):
        live.episodes(torch.tensor([0, 4]))
    assert len(live.failed) == 1


def test_augmentation_follows_the_epoch(
    shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer
) -> None:
    live = LiveFeatures(make_recognizer(), make_dataset(shared_list, train=True), device=CPU)
    first, again, other = (live.episodes(torch.arange(6), epoch=epoch) for epoch in (0, 0, 1))
    assert torch.equal(first.frames, again.frames)
    assert not torch.equal(first.frames, other.frames)
    (batch,) = live.batches(6, epoch=1)
    assert torch.equal(batch.global_map[batch.videos.argsort()], other.global_map)


def test_workers_change_nothing(shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer) -> None:
    passes = []
    for workers in (0, 1):
        live = LiveFeatures(make_recognizer(), make_dataset(shared_list, train=True), device=CPU, workers=workers)
        # Twice, since worker processes live on from pass to pass.
        passes.append([episodes for epoch in (0, 1) for episodes in live.batches(4, epoch=epoch)])
    for left, right in zip(*passes, strict=True):
        assert torch.equal(left.videos, right.videos)
        assert torch.equal(left.global_map, right.global_map)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_encoders_of_lower_precision_give_float32_features(
    shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer, dtype: torch.dtype
) -> None:
    dataset, videos, action = make_dataset(shared_list), torch.tensor([0, 5]), torch.tensor([[0, 4, 8], [2, 6, 1]])
    exact = LiveFeatures(make_recognizer(), dataset, device=CPU).episodes(videos)
    rough = LiveFeatures(make_recognizer().to(dtype), dataset, device=CPU).episodes(videos)
    for left, right in (
        (exact.global_map, rough.global_map),
        (exact.local(action), rough.local(action)),
        (exact.full(), rough.full()),
    ):
        assert right.dtype == torch.float32
        torch.testing.assert_close(left, right, rtol=0.1, atol=0.1)


def test_positions_are_cut_at_the_floor(
    shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer
) -> None:
    recognizer = make_recognizer()
    episodes = LiveFeatures(recognizer, make_dataset(shared_list), device=CPU).episodes(torch.tensor([3, 1]))
    free = recognizer.grid.last_offset
    position = torch.tensor([[[0.0, 1.0], [0.5, 0.999]], [[0.33, 0.01], [1.0, 0.0]]])
    steps = torch.tensor([[2, 0], [1, 1]])
    origin = torch.tensor([[[0, free], [free // 2, free - 1]], [[int(0.33 * free), 0], [free, 0]]])
    expected = episodes.local_at_origin(steps, origin)
    torch.testing.assert_close(episodes.local_at_position(steps, position), expected)
    several = episodes.local_at_position(steps[:, :1], position[:, None])
    assert several.shape == (2, 1, 2, expected.shape[-1])
    torch.testing.assert_close(several[1, 0], expected[1])


def test_rows_of_other_episodes(shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer) -> None:
    live = LiveFeatures(make_recognizer(), make_dataset(shared_list), device=CPU)
    before = live.episodes(torch.tensor([3, 1, 0]))
    mixed = before.clone()
    mixed.overwrite(torch.tensor([2, 0]), live.episodes(torch.tensor([5, 4])))
    expected = live.episodes(torch.tensor([4, 1, 5]))
    steps, actions = torch.tensor([[0, 1], [2, 2], [1, 0]]), torch.tensor([[0, 1], [2, 3], [3, 1]])
    assert mixed.videos.tolist() == [4, 1, 5]
    assert torch.equal(mixed.labels, expected.labels)
    torch.testing.assert_close(mixed.global_map, expected.global_map)
    torch.testing.assert_close(mixed.local_at(steps, actions), expected.local_at(steps, actions))
    torch.testing.assert_close(mixed.full(), expected.full())
    assert before.videos.tolist() == [3, 1, 0]
    torch.testing.assert_close(before.global_map, live.episodes(torch.tensor([3, 1, 0])).global_map)


def test_some_whole_frames_are_those_among_all(
    shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer
) -> None:
    episodes = LiveFeatures(make_recognizer(), make_dataset(shared_list), device=CPU).episodes(torch.tensor([3, 1]))
    steps = torch.tensor([[2, 0, 2], [1, 1, 0]])
    expected = episodes.full()[torch.arange(2)[:, None], steps]
    torch.testing.assert_close(episodes.table_at(FULL, steps), expected)
