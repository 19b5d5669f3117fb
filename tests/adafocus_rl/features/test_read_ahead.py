"""A bank that is read from disk returns what a bank in memory returns, and reads the next batch meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.errors import UserError
from adafocus_rl.features import FeatureBank, TableSpec, build_bank
from adafocus_rl.features.read_ahead import readers_for
from adafocus_rl.features.rows import MappedRows, ResidentRows
from adafocus_rl.models.recognizer import Recognizer

CPU = torch.device("cpu")


@pytest.fixture
def shards() -> list[np.ndarray]:
    """A table (7, 2, 3, 4) in shards of 3 + 3 + 1 videos."""
    values = np.random.default_rng(0).standard_normal((7, 2, 3, 4)).astype(np.float16)
    return [values[:3], values[3:6], values[6:]]


def test_mapped_rows_are_resident_rows(shards: list[np.ndarray]) -> None:
    mapped, resident = MappedRows(shards, 3, CPU), ResidentRows(shards, CPU)
    videos = torch.tensor([6, 0, 4, 4])
    frame = torch.tensor([[0, 1, 1]]).expand(4, -1)
    action = torch.randint(3, (4, 3, 2), generator=torch.Generator().manual_seed(0))
    one_shard = torch.tensor([3, 5])
    for index in (
        (videos,),
        (videos[:, None].expand(-1, 2),),
        (videos[:, None], frame),
        (videos[:, None, None], frame[..., None], action),
        (one_shard[:, None], torch.tensor([[1, 0]])),
        (videos[:0],),
    ):
        found = mapped.gather(*index)
        assert found.dtype == torch.float32
        assert torch.equal(found, resident.gather(*index))


def test_a_table_may_have_empty_rows() -> None:
    empty = [np.zeros((3, 2, 0), dtype=np.float16)]
    mapped = MappedRows(empty, 3, CPU)
    videos = torch.tensor([[2], [0]])
    assert mapped.gather(videos[:, 0]).shape == (2, 2, 0)
    assert mapped.gather(videos, torch.tensor([[0, 1]])).shape == (2, 2, 0)


@pytest.fixture(scope="module")
def banks(
    shared_list: Path,
    make_dataset: Callable[..., ClipDataset],
    make_recognizer: Callable[..., Recognizer],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[FeatureBank, FeatureBank]:
    """The same bank, mapped and resident."""
    folder = tmp_path_factory.mktemp("bank")
    build_bank(folder, make_recognizer(), make_dataset(shared_list), device=CPU, shard_videos=4)
    return FeatureBank(folder, device=CPU, resident="never"), FeatureBank(folder, device=CPU, resident="always")


@pytest.mark.parametrize("epoch", [None, 3])
def test_passes_are_equal(banks: tuple[FeatureBank, FeatureBank], epoch: int | None) -> None:
    for number, (mapped, resident) in enumerate(zip(*(bank.batches(2, epoch=epoch) for bank in banks), strict=True)):
        assert torch.equal(mapped.videos, resident.videos)
        # The second batch does without the maps, and the third reads them nevertheless.
        if number != 1:
            assert torch.equal(mapped.global_map, resident.global_map)
        assert torch.equal(mapped.global_vector, resident.global_vector)
        assert torch.equal(mapped.full(), resident.full())
        assert torch.equal(mapped.full(), resident.full())
        assert resident.motion is not None
        assert torch.equal(mapped.motion, resident.motion)
        with pytest.raises(UserError, match=r"no table 'x'.*declare it"):
            mapped.table(TableSpec(name="x", fill=lambda chunk: chunk.frames))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[int, ...], bool]]:
    """Videos of every read of whole maps, and whether it took place in the caller's thread."""
    seen: list[tuple[tuple[int, ...], bool]] = []
    caller, real = threading.get_ident(), MappedRows.read

    def spy(own: MappedRows, host: torch.Tensor, videos: np.ndarray) -> None:
        if host.ndim == 5:
            seen.append((tuple(videos.tolist()), threading.get_ident() == caller))
        real(own, host, videos)

    monkeypatch.setattr(MappedRows, "read", spy)
    return seen


def test_the_next_batch_is_read_by_a_thread_once_a_table_is_used(
    banks: tuple[FeatureBank, FeatureBank], reads: list[tuple[tuple[int, ...], bool]]
) -> None:
    for episodes in banks[0].batches(2):
        _ = episodes.global_map
    assert reads == [((0, 1), True), ((2, 3), False), ((4, 5), False)]
    reads.clear()
    for _ in banks[0].batches(2):
        pass
    assert reads == []


def test_several_threads_read_a_batch_together(
    banks: tuple[FeatureBank, FeatureBank],
    reads: list[tuple[tuple[int, ...], bool]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As they do for a GPU; here three threads for batches of four and two videos."""
    monkeypatch.setattr("adafocus_rl.features.read_ahead.readers_for", lambda device: 3)
    for mapped, resident in zip(*(bank.batches(4, epoch=3) for bank in banks), strict=True):
        assert torch.equal(mapped.global_map, resident.global_map)
        assert torch.equal(mapped.global_vector, resident.global_vector)
    assert not any(in_caller for _, in_caller in reads)
    read = [video for videos, _ in reads for video in videos]
    assert sorted(read) == list(range(6))
    assert [len(videos) for videos, _ in sorted(reads, key=lambda one: -len(one[0]))] == [2, 1, 1, 1, 1, 0]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("adafocus")]


def test_only_a_gpu_gets_several_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    for threads, expected in ((1, 1), (4, 4), (16, 8)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert readers_for(torch.device("cuda")) == expected
        assert readers_for(CPU) == 1


def test_episodes_outlive_their_pass(banks: tuple[FeatureBank, FeatureBank]) -> None:
    first = next(banks[0].batches(2))
    assert torch.equal(first.global_map, next(banks[1].batches(2)).global_map)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("adafocus")]


def test_replaced_videos_have_their_own_features(banks: tuple[FeatureBank, FeatureBank]) -> None:
    found = []
    for bank in banks:
        one, two, _ = bank.batches(2)
        changed = two.clone()
        changed.overwrite(torch.tensor([1]), one.bank.episodes(torch.tensor([5])))
        found.append((changed.global_map, two.global_map))
    for mapped, resident in zip(*found, strict=True):
        assert torch.equal(mapped, resident)


def test_parts_of_rows_of_a_short_last_shard(banks: tuple[FeatureBank, FeatureBank]) -> None:
    """Read before anything else of it, in shards of 4 and 2 videos."""
    mapped = FeatureBank(banks[0].folder, device=CPU, resident="never")
    videos, frames = torch.tensor([[4, 5, 1]]), torch.tensor([[0, 2, 1]])
    for name in ("local", "full"):
        assert torch.equal(mapped.table(name, videos, frames), banks[1].table(name, videos, frames))


def test_a_bank_of_many_shards_keeps_few_of_them_open(
    shared_list: Path,
    make_dataset: Callable[..., ClipDataset],
    make_recognizer: Callable[..., Recognizer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each takes a file descriptor, of which a process usually may have 1,024."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    build_bank(tmp_path, make_recognizer(), make_dataset(shared_list), device=CPU, shard_videos=1)
    resident = FeatureBank(tmp_path, device=CPU, resident="always")
    monkeypatch.setattr("adafocus_rl.features.shards.OPEN_SHARDS", 2)
    bank = FeatureBank(tmp_path, device=CPU, resident="never")
    order = torch.tensor([5, 0, 3, 1, 4, 2, 5])
    for name in ("global_map", "global_vector", "local", "full", "thumbnail"):
        assert torch.equal(bank.table(name, order), resident.table(name, order))
        assert torch.equal(bank.table(name, order, order % 3), resident.table(name, order, order % 3))
    opened = [
        path for path in Path("/proc/self/fd").iterdir() if path.exists() and str(tmp_path) in str(path.resolve())
    ]
    assert len(opened) == 5 * 2
