"""Functions that run in a thread, in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from adafocus_rl.features.background import Background


def test_functions_run_in_order_in_one_other_thread_and_all_before_the_end() -> None:
    done: list[int] = []
    threads = set()
    with Background(waiting=2) as background:
        for number in range(7):
            background.run(lambda number=number: (done.append(number), threads.add(threading.get_ident())))
            assert len(done) >= number + 1 - 2
    assert done == [*range(7)]
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_the_caller_goes_on_meanwhile_but_not_far() -> None:
    gate, started, returned = threading.Event(), threading.Event(), threading.Event()
    done: list[int] = []

    def slow() -> None:
        started.set()
        assert gate.wait(30)
        done.append(0)

    def caller() -> None:
        with Background(waiting=1) as background:
            background.run(slow)
            assert started.wait(30)
            assert done == []
            returned.set()
            background.run(lambda: done.append(1))  # waits for the first

    thread = threading.Thread(target=caller)
    thread.start()
    assert returned.wait(30)
    thread.join(0.05)
    assert thread.is_alive()
    gate.set()
    thread.join(30)
    assert done == [0, 1]


def _fail() -> None:
    raise OSError("no space left on device")


def _given(functions: list[Callable[[], object]], *, waiting: int, interrupted: bool = False) -> None:
    with Background(waiting=waiting) as background:
        for function in functions:
            background.run(function)
        if interrupted:
            raise KeyboardInterrupt


@pytest.mark.parametrize("others", [0, 1, 3])
def test_after_a_failure_nothing_else_runs(others: int) -> None:
    done: list[int] = []
    with pytest.raises(OSError, match="no space left"):
        _given([_fail, *[partial(done.append, number) for number in range(others)]], waiting=1)
    assert done == []


def test_an_interrupt_lets_what_was_given_finish() -> None:
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        _given([partial(done.append, number) for number in range(4)], waiting=5, interrupted=True)
    assert done == [0, 1, 2, 3]
