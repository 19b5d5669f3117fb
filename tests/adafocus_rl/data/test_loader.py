"""A video that crashes or hangs its worker process is named and left out; the rest is as if it had not been there."""

from __future__ import annotations

import dataclasses
import faulthandler
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
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
from adafocus_rl.data.clips import collate
from adafocus_rl.data.dataset import ClipBatch, ClipDataset, ClipLoader, make_loader
from adafocus_rl.data.index import VideoIndex, VideoRecord
from adafocus_rl.data.transform_options import TransformConfig
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
        records = [VideoRecord(path=str(i), video_frames=3, labels=(0,)) for i in range(VIDEOS)]
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
    return torch.equal(a.clips, b.clips) and torch.equal(a.rows, b.rows) and torch.equal(a.frames, b.frames)


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
            rest = without.rows != BAD
            assert torch.equal(batch.rows, without.rows[rest])
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
    assert [batch.rows.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 6, 7]]
    assert batches[1].failed == [(str(BAD), "decoding it took more than 0.5 s (data.decode_timeout)")]


@forks
@pytest.mark.parametrize(("ranks_here", "pin", "more"), [(1, False, 0), (2, False, 5), (2, True, 0)])
def test_decoders_give_way_to_ranks_on_cpus(
    plug: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks_here: int, pin: bool, more: int
) -> None:
    """Pinned memory is for GPUs, whose ranks leave cores to the decoders."""
    monkeypatch.setattr(loader_module.ranks, "local_world", lambda: ranks_here)
    note = tmp_path / "niceness"
    dataset = plug(lambda: note.write_text(str(os.nice(0))))
    batches = ClipLoader(dataset, [[BAD]], workers=1, pin=pin, seed=0)
    if pin:  # without a GPU, torch warns and does not pin
        warnings.simplefilter("ignore")
    assert [len(batch) for batch in batches] == [1]
    assert int(note.read_text()) == os.nice(0) + more


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
    assert [batch.rows.tolist() for batch in loader] == [[i] for i in range(VIDEOS)]


@forks
def test_the_consumer_is_not_interrupted(plug: Any) -> None:
    """torch raises where the main process happens to be when a worker ends."""
    dataset = plug(_abort)
    loader = make_loader(dataset, batch_size=1, workers=2)
    seen = []
    for batch in loader:
        seen += batch.rows.tolist()
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


def _drops(times: int) -> Callable[[Any], Any]:
    """A way to put batches together of which so many cannot be sent: as where shared memory is full."""

    class Unsendable(ClipBatch):
        def __reduce__(self) -> Any:
            raise OSError(28, "No space left on device")

    left = torch.full((), times).share_memory_()

    def put_together(items: Any) -> ClipBatch:
        batch = collate(items)
        if left <= 0:
            return batch
        left.sub_(1)
        return Unsendable(**{field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)})

    return put_together


@forks
@pytest.mark.parametrize("workers", [1, 2])
def test_a_batch_that_cannot_be_sent_is_made_again(
    plug: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], workers: int
) -> None:
    dataset = plug(lambda: None)
    monkeypatch.setattr(loader_module, "collate", _drops(2))
    batches = list(make_loader(dataset, batch_size=3, workers=workers))
    assert [batch.rows.tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert capfd.readouterr() == ("", "")


@forks
def test_batches_that_never_come_end_the_pass(plug: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_module, "collate", _drops(1000))
    loader = make_loader(plug(lambda: None), batch_size=3, workers=2)
    with pytest.raises(
        UserError, match=r"lose batches \(No space left on device\), the last 3 times.*/dev/shm.*workers 0"
    ):
        list(loader)
    assert not multiprocessing.active_children()


@forks
def test_an_idle_worker_that_is_stopped_is_replaced(plug: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing says why no batch comes: all have been idle for too long."""
    dataset = plug(lambda: None)
    loader = make_loader(dataset, batch_size=3, workers=2)
    first = _pass(loader, dataset, 0)
    monkeypatch.setattr(loader_module, "LOST_SECONDS", 0.3)
    for process in loader._processes:
        os.kill(process.pid, signal.SIGSTOP)
    assert all(_same(a, b) for a, b in zip(_pass(loader, dataset, 0), first, strict=True))
    # And one that stops in the middle of sending.
    stopped = torch.zeros(()).share_memory_()

    def stop(items: Any) -> ClipBatch:
        if not stopped:
            stopped.fill_(1)
            os.kill(os.getpid(), signal.SIGSTOP)
        return collate(items)

    monkeypatch.setattr(loader_module, "collate", stop)
    assert len(list(make_loader(dataset, batch_size=3, workers=1))) == 3


@forks
def test_a_batch_that_cannot_be_received_is_made_again(plug: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where no file can be opened any more."""
    arrives = ClipBatch.__setstate__ if hasattr(ClipBatch, "__setstate__") else None
    assert arrives is None
    failures = [OSError(24, "Too many open files"), RuntimeError("received 0 items of ancdata")]
    here = os.getpid()

    def arrive(self: ClipBatch, state: dict[str, Any]) -> None:
        if os.getpid() == here and failures:
            raise failures.pop()
        self.__dict__.update(state)

    monkeypatch.setattr(ClipBatch, "__setstate__", arrive, raising=False)
    assert len(list(make_loader(plug(lambda: None), batch_size=3, workers=1))) == 3
    assert not failures


@forks
def test_an_interrupted_wait_leaves_no_process(plug: Any) -> None:
    loader = make_loader(plug(lambda: time.sleep(60)), batch_size=8, workers=2)
    threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        list(loader)
    assert not multiprocessing.active_children()


@forks
def test_a_mistake_seen_by_a_worker_is_one_sentence(plug: Any) -> None:
    def mistake() -> None:
        raise UserError("this is wrong; do that")

    with pytest.raises(UserError, match=r"^this is wrong; do that$"):
        list(make_loader(plug(mistake), batch_size=3, workers=1))


PROGRAM = """
import os, sys
from pathlib import Path
import numpy as np
from adafocus_rl.data import dataset
from adafocus_rl.data.index import VideoIndex, VideoRecord
from adafocus_rl.data.transform_options import TransformConfig
from adafocus_rl.errors import UserError

dataset.decode_frames = lambda path, indices, **_: np.zeros((len(indices), 64, 64, 3), np.uint8)
index = VideoIndex(records=[VideoRecord(path=str(i), video_frames=8, labels=(0,)) for i in range(32)], root=Path("."))
transform = TransformConfig(frame_size=64)
clips = dataset.ClipDataset(index, num_frames=8, transform=transform, train=False, seed=0)
try:
    print(sum(len(batch) for batch in dataset.make_loader(clips, batch_size=8, workers=int(sys.argv[1]))))
except UserError as error:
    print(error)
"""

NO_NAMESPACE = "mounting a small /dev/shm takes Linux, unshare and the right to"


def _small(what: str, workers: int) -> subprocess.CompletedProcess[str]:
    """The program above where shared memory, or the number of open files, is small."""
    python = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(workers)]
    files = ["bash", "-c", f'ulimit -n {what}; exec "$@"', "-", *python]
    memory = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size={what} tmpfs /dev/shm && exec "$@"', "-", *python]
    return subprocess.run(files if what.isdigit() else memory, capture_output=True, text=True, timeout=120)


def _may_mount() -> bool:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    mount = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]
    return subprocess.run(mount, capture_output=True).returncode == 0


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.skipif(not _may_mount(), reason=NO_NAMESPACE)
@pytest.mark.parametrize("size", ["1m", "4k"])
def test_little_shared_memory(size: str) -> None:
    done = _small(size, workers=2)
    assert "lose batches (" in done.stdout
    # As this version of torch puts it.
    assert re.search("No space left on device|unable to allocate shared memory", done.stdout)
    assert done.stderr == ""
    # What the sentence says helps.
    assert _small(size, workers=0).stdout.strip() == "32"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32" or shutil.which("bash") is None, reason="ulimit is bash's")
@pytest.mark.parametrize("files", ["16", *(pytest.param(files, marks=pytest.mark.long) for files in ("24", "40"))])
def test_few_open_files(files: str) -> None:
    done = _small(files, workers=8)
    assert "lose batches (" in done.stdout
    assert "Too many open files" in done.stdout
    assert done.stderr == ""
