"""A rank whose GPU waits for another rank: the watch ends it if the other is lost, and else lets it wait."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

import pytest
import torch

from adafocus_rl import ranks
from adafocus_rl.errors import UserError
from adafocus_rl.ranks import gpu_watch
from adafocus_rl.ranks.gpu_watch import GpuWatch, end_process
from adafocus_rl.ranks.job import Job, SilentExit
from tests.two_ranks import on_ranks

TIMEOUT = 3.0


def end(error: BaseException) -> NoReturn:
    sys.stderr.write(f"{type(error).__name__}: {error}\n")
    sys.stderr.flush()
    os._exit(3 if isinstance(error, SystemExit) else 7)


def job() -> Job:
    found = ranks.group.joined()
    assert found is not None
    return found


def block(seconds: float) -> None:
    """Wait like a CUDA call: no Python code of this thread runs meanwhile, signal handlers included."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    time.sleep(seconds)


def exchange(done: Callable[[], bool]) -> None:
    with job().exchanging(lambda: done):
        pass


def other_hangs(inside: bool) -> None:
    with GpuWatch(job(), end, device=None):
        for _ in range(4):  # exchanges that were done
            exchange(lambda: True)
        if not ranks.is_first():
            time.sleep(60)
        elif inside:
            with job().exchanging(lambda: lambda: True):
                block(60)
        else:
            exchange(lambda: False)
            block(60)


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_a_rank_that_hangs_is_reported_by_the_one_that_waits(inside: bool, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match="process 0 terminated with exit code 7"):
        on_ranks(other_hangs, inside, timeout=TIMEOUT)
    assert "RankError: rank 1 of 2 has given no sign of life for 3 s" in capfd.readouterr().err


def other_dies() -> None:
    with GpuWatch(job(), end, device=None):
        if not ranks.is_first():
            os._exit(0)
        exchange(lambda: False)
        block(60)


@pytest.mark.filterwarnings("ignore")
def test_a_rank_that_has_died_is_reported(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match="process 0 terminated with exit code 7"):
        on_ranks(other_dies)
    assert "of 2 has ended without a message" in capfd.readouterr().err


def other_reports() -> None:
    with GpuWatch(job(), end, device=None):
        if not ranks.is_first():
            job().explained(UserError("the mistake"))
            block(60)
        exchange(lambda: False)
        block(60)


@pytest.mark.filterwarnings("ignore")
def test_a_rank_ends_silently_if_another_has_reported(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match="process 0 terminated with exit code 3"):
        on_ranks(other_reports)
    assert SilentExit.__name__ in capfd.readouterr().err


def other_is_slow() -> bool:
    """The other rank decodes for longer than the timeout, then both go on."""
    ready = time.monotonic() + 3 * TIMEOUT
    with GpuWatch(job(), end, device=None):
        if ranks.is_first():
            exchange(lambda: time.monotonic() > ready)
            block(3 * TIMEOUT + 1)
        while time.monotonic() < ready + 1:
            time.sleep(0.5)
            ranks.beat()
    return True


def test_a_rank_that_goes_on_is_waited_for() -> None:
    assert on_ranks(other_is_slow, timeout=TIMEOUT) == [True, True]


def steps() -> bool:
    """Exchanges one after another: at each look one is under way, and each is soon done."""
    ended = time.monotonic() + 5
    with GpuWatch(job(), end, device=None, limit=2.0):
        while time.monotonic() < ended:
            exchange(lambda: False)
            time.sleep(0.1)
            ranks.beat()
        exchange(lambda: True)
    return True


def test_a_busy_gpu_is_not_one_that_waits_for_ever() -> None:
    assert on_ranks(steps, timeout=TIMEOUT) == [True, True]


def all_wait() -> None:
    with GpuWatch(job(), end, device=None, limit=4.0):
        exchange(lambda: False)
        block(60)


@pytest.mark.filterwarnings("ignore")
def test_ranks_that_wait_for_one_another_give_up(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match=r"process . terminated with exit code (7|3)"):
        on_ranks(all_wait, timeout=60)
    assert capfd.readouterr().err.count("RankError: GPUs have waited for one another for 4 s") == 1


class Event:
    """What torch's event does that is recorded on a GPU which waits."""

    done = False

    def record(self, stream: object) -> None:
        assert stream == "the stream"

    def query(self) -> bool:
        return Event.done


def told() -> list[int | None]:
    torch.cuda.Event = Event  # type: ignore[misc, assignment]
    torch.cuda.current_stream = lambda device: "the stream"  # type: ignore[assignment, return-value]
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    found = []
    for device in (cpu, gpu):
        with ranks.exchanging(device):
            found.append(job().waits_in())
        found.append(job().waits_in())
    Event.done = True
    return [*found, job().waits_in()]


def test_exchanges_on_gpus_are_told() -> None:
    assert on_ranks(told) == [[None, None, 1, 1, None]] * 2


def test_exit_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(gpu_watch.os, "_exit", codes.append)
    for error in (UserError("a mistake"), SilentExit(143)):
        end_process(error)
    assert codes == [UserError.exit_code, 143]


def test_nothing_is_left_of_a_watch_that_has_ended() -> None:
    class Nobody(Job):
        def __init__(self) -> None:
            pass

        def waits_in(self) -> None:
            return None

    before = threading.active_count()
    with GpuWatch(Nobody(), end, device=None):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
