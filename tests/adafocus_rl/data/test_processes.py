"""A function is applied in several processes, in order, and an interrupt ends them without a word."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from adafocus_rl.data.processes import map_in_processes
from adafocus_rl.errors import UserError


def _square(number: int) -> int:
    if number == 99:
        os._exit(1)  # what a kill looks like from outside
    return number * number


def test_results_come_in_the_order_of_the_jobs() -> None:
    assert [*map_in_processes(_square, range(11), workers=2, chunk=3)] == [number**2 for number in range(11)]


def test_a_process_that_is_killed_is_named() -> None:
    with pytest.raises(UserError, match="a process was killed, for lack of memory perhaps"):
        list(map_in_processes(_square, [1, 99, 3], workers=2, chunk=1))
    assert not multiprocessing.active_children()


def test_processes_that_cannot_be_started_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: Any) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", start)
    with pytest.raises(UserError) as refused:
        list(map_in_processes(_square, [1, 2], workers=2, chunk=1))
    assert "no processes can be started (Resource temporarily unavailable)" in str(refused.value)
    assert "--workers" not in str(refused.value)  # an option that the command does not have


def test_an_interrupt_while_the_processes_die(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a terminal reaches all processes: the pool breaks while this thread leaves it."""
    breaks, leaves = threading.Event(), threading.Event()
    fail, shutdown = Future.set_exception, ProcessPoolExecutor.shutdown
    errors: list[Any] = []

    def set_exception(self: Future[Any], error: BaseException) -> None:
        breaks.set()
        assert leaves.wait(60)
        fail(self, error)

    def result(self: Future[Any], timeout: float | None = None) -> Any:
        assert breaks.wait(60)
        raise KeyboardInterrupt

    def leave(self: ProcessPoolExecutor, *arguments: Any, **options: Any) -> None:
        leaves.set()
        shutdown(self, *arguments, **options)

    monkeypatch.setattr(Future, "set_exception", set_exception)
    monkeypatch.setattr(Future, "result", result)
    monkeypatch.setattr(ProcessPoolExecutor, "shutdown", leave)
    monkeypatch.setattr(threading, "excepthook", errors.append)
    with pytest.raises(KeyboardInterrupt), closing(map_in_processes(_square, [99] * 40, workers=2, chunk=1)) as found:
        list(found)
    assert errors == []
    assert not multiprocessing.active_children()
