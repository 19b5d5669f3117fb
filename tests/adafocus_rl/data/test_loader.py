"""A video that crashes or hangs its worker process is named and left out; the rest is as if it had not been there."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from adafocus_rl.data import dataset as dataset_module
from adafocus_rl.data import loader as loader_module
from adafocus_rl.data.dataset import ClipBatch, ClipDataset, ClipLoader, make_loader
from adafocus_rl.data.index import VideoIndex, VideoRecord
from adafocus_rl.data.transforms import TransformConfig
from adafocus_rl.errors import UserError

VIDEOS = 8
BAD = 5
decode_frames = dataset_module.decode_frames
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="a decoder plugged in here is inherited by fork only")


@pytest.fixture(autouse=True)
def _quick_and_quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(loader_module, "POLL_SECONDS", 0.1)
    with warnings.catch_warnings():
        # Python 3.12 and later warn of any fork beside threads; torch has threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@pytest.fixture
def plug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], ClipDataset]:
    """A dataset of eight videos in which decoding number 5 first does what is given."""
    frames = np.random.default_rng(0).integers(0, 256, (VIDEOS, 3, 32, 32, 3), dtype=np.uint8)

    def make(happens: Callable[[], None], *, timeout: float = 0) -> ClipDataset:
        def decode(path: Path, indices: NDArray[np.int64], **_: Any) -> NDArray[np.uint8]:
            if path.name == str(BAD):
                happens()
            return frames[int(path.name)][indices]

        monkeypatch.setattr(dataset_module, "decode_frames", decode)
        records = [VideoRecord(path=str(i), num_frames=3, labels=(0,)) for i in range(VIDEOS)]
        index = VideoIndex(records=records, root=tmp_path)
        transform = TransformConfig(frame_size=24)
        return ClipDataset(index, num_frames=3, transform=transform, train=True, seed=0, decode_timeout=timeout)

    return make


def _abort() -> None:
    faulthandler.disable()
    os.abort()


def _segfault() -> None:
    faulthandler.disable()
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(10)


def _exit() -> None:
    os._exit(3)


def _pass(loader: ClipLoader, dataset: ClipDataset, epoch: int) -> list[ClipBatch]:
    dataset.set_epoch(epoch)
    return list(loader)


def _same(a: ClipBatch, b: ClipBatch) -> bool:
    return torch.equal(a.clips, b.clips) and torch.equal(a.videos, b.videos) and torch.equal(a.frames, b.frames)


@forks
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("happens", "reason"),
    [(_abort, "crashes (SIGABRT)"), (_segfault, "crashes (SIGSEGV)"), (_exit, "crashes (exit code 3)")],
)
def test_a_crash_costs_one_video(plug: Any, happens: Callable[[], None], reason: str, workers: int) -> None:
    whole = plug(lambda: None)
    expected = [_pass(make_loader(whole, batch_size=3, shuffle=True), whole, epoch) for epoch in (0, 1)]
    dataset = plug(happens)
    loader = make_loader(dataset, batch_size=3, shuffle=True, workers=workers)
    for epoch in (0, 1):
        batches = _pass(loader, dataset, epoch)
        assert [pair for batch in batches for pair in batch.failed] == [(str(BAD), f"decoding it {reason}")]
        for batch, without in zip(batches, expected[epoch], strict=True):
            rest = without.videos != BAD
            assert torch.equal(batch.videos, without.videos[rest])
            assert torch.equal(batch.frames, without.frames[rest])
            assert torch.equal(batch.clips, without.clips[rest])
    # Known by now, in this process too.
    assert make_loader(dataset, batch_size=VIDEOS).__iter__().__next__().failed == [(str(BAD), f"decoding it {reason}")]


@forks
def test_a_video_that_takes_too_long_is_given_up(plug: Any) -> None:
    dataset = plug(lambda: time.sleep(60), timeout=0.5)
    began = time.monotonic()
    batches = list(make_loader(dataset, batch_size=4, workers=2))
    assert time.monotonic() - began < 10
    assert [batch.videos.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 6, 7]]
    assert batches[1].failed == [(str(BAD), "decoding it took more than 0.5 s (data.decode_timeout)")]


@forks
def test_a_slow_video_is_waited_for(plug: Any) -> None:
    dataset = plug(lambda: time.sleep(0.6), timeout=20)
    (batch,) = make_loader(dataset, batch_size=VIDEOS, workers=1)
    assert len(batch) == VIDEOS


@forks
def test_a_worker_killed_from_outside_is_no_fault_of_the_video(plug: Any, tmp_path: Path) -> None:
    def once() -> None:
        if not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    dataset = plug(once)
    (batch,) = make_loader(dataset, batch_size=VIDEOS, workers=1)
    assert len(batch) == VIDEOS
    dataset = plug(lambda: os.kill(os.getpid(), signal.SIGKILL))
    (batch,) = make_loader(dataset, batch_size=VIDEOS, workers=1)
    assert batch.failed == [(str(BAD), "decoding it crashes (SIGKILL)")]


@forks
def test_workers_killed_between_passes_come_back(plug: Any) -> None:
    dataset = plug(lambda: None)
    loader = make_loader(dataset, batch_size=3, workers=2)
    first = _pass(loader, dataset, 0)
    for process in loader._processes:
        process.kill()
        process.join()
    assert all(_same(a, b) for a, b in zip(_pass(loader, dataset, 0), first, strict=True))


@forks
def test_a_pass_left_early_does_not_disturb_the_next(plug: Any) -> None:
    dataset = plug(lambda: None)
    loader = make_loader(dataset, batch_size=1, workers=2)
    next(iter(loader))
    assert [batch.videos.tolist() for batch in loader] == [[i] for i in range(VIDEOS)]


@forks
def test_the_consumer_is_not_interrupted(plug: Any) -> None:
    """torch raises where the main process happens to be when a worker ends."""
    dataset = plug(_abort)
    loader = make_loader(dataset, batch_size=1, workers=2)
    seen = []
    for batch in loader:
        seen += batch.videos.tolist()
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            sum(range(1000))
    assert seen == [i for i in range(VIDEOS) if i != BAD]


@forks
def test_a_fault_that_is_no_videos_ends_the_run(plug: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = plug(lambda: None)
    # After the video's note is gone, as where shared memory is too small for a batch.
    monkeypatch.setattr(loader_module, "collate", lambda items: os._exit(7))
    with pytest.raises(UserError, match=r"again and again \(exit code 7\).*shared memory"):
        list(make_loader(dataset, batch_size=3, workers=1))
    monkeypatch.setattr(loader_module, "LOSSES", 2)
    monkeypatch.setattr(dataset_module, "decode_frames", lambda path, indices, **_: os._exit(4))
    with pytest.raises(UserError, match=r"exit code 4.*last 2 times"):
        list(make_loader(dataset, batch_size=3, workers=1))


@forks
def test_an_exception_of_ours_comes_through(plug: Any) -> None:
    def fault() -> None:
        raise RuntimeError("a fault of ours")

    with pytest.raises(RuntimeError, match="a fault of ours"):
        list(make_loader(plug(fault), batch_size=3, workers=1))
