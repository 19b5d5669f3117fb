"""Application of a function to many videos in several processes, which may crash in a codec or be killed."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

from adafocus_rl.errors import UserError

Job = TypeVar("Job")
Result = TypeVar("Result")


def may_start_processes() -> bool:
    """Return whether this process may start child processes.

    Daemonic processes may not, such as the workers of Gymnasium's ``AsyncVectorEnv``, Stable-Baselines3's
    ``SubprocVecEnv`` and a ``DataLoader``; they do all work themselves.
    """
    return not multiprocessing.current_process().daemon


MAIN_GUARD = (
    "where processes are spawned, each runs the main script again before anything else; put what the script does under "
    '`if __name__ == "__main__":`, or decode in the main process (data.workers 0)'
)
"""Advice for a script that would start processes again in each process that it starts."""


FEWER = ", use fewer (--workers), or work in the main process (--workers 0)"
"""Advice for a command with ``--workers`` if no processes can be started."""


def check_main_guard() -> None:
    """Check, before starting processes, that the main script is guarded against doing so in spawned processes.

    Raises:
        UserError: this is a spawned process that is still importing the main script, which lacks a guard.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UserError(f"this process was started to decode, and would start others: {MAIN_GUARD}")


def is_worker() -> bool:
    """Return whether this process is one of several parallel ones: a daemonic process, or a fork.

    Such a process should compute in one thread. A fork must: OpenMP's threads remain in the parent process, and the
    first multi-threaded computation would wait for them forever.
    """
    process = multiprocessing.current_process()
    method = getattr(process, "_start_method", None) or multiprocessing.get_start_method(allow_none=True)
    return process.daemon or (multiprocessing.parent_process() is not None and method == "fork")


def run_in_processes(
    function: Callable[[Job], Result], jobs: Sequence[Job], *, workers: int, seconds: float
) -> Iterator[tuple[int, Result | None]]:
    """Call a function on every job.

    Args:
        function: a picklable function; its exceptions are raised here.
        jobs: picklable jobs.
        workers: number of processes. 0 works in this process, which a crash then ends; so does any number in a process
            that may not start others.
        seconds: time limit per job, after which its process is killed; there is no limit in this process.

    Yields:
        (position of the job, return value), in the order of completion; None if its process died or was killed. Other
        jobs that were running then are tried again, each in a process of its own.
    """
    if workers == 0 or not may_start_processes():
        yield from ((position, function(job)) for position, job in enumerate(jobs))
        return
    waiting = list(range(len(jobs)))[::-1]
    while waiting:
        lost: list[int] = []
        running: dict[Future[Result], int] = {}
        with suppress(_LateError), _pool(workers) as pool:
            while not lost and (waiting or running):
                # Few at a time, because a dying process makes all submitted jobs run again.
                while waiting and len(running) < 2 * workers:
                    position = waiting.pop()
                    running[_submit(pool, function, jobs[position])] = position
                done, _ = wait(running, timeout=seconds, return_when=FIRST_COMPLETED)
                if not done:
                    raise _LateError
                for future in done:
                    position = running.pop(future)
                    try:
                        yield position, future.result()
                    except BrokenProcessPool:
                        lost.append(position)
        for position in sorted([*lost, *running.values()]):
            yield position, _alone(function, jobs[position], seconds=seconds)


def map_in_processes(
    function: Callable[[Job], Result], jobs: Sequence[Job], *, workers: int, chunk: int
) -> Generator[Result, None, None]:
    """Call a function on every job; closing the iterator kills the processes.

    Unlike with ``run_in_processes``, all results are needed.

    Args:
        function: a picklable function; its exceptions are raised here.
        jobs: picklable jobs.
        workers: number of processes, at least 1.
        chunk: number of jobs that are sent to a process at once.

    Yields:
        Return values, in the order of the jobs.

    Raises:
        UserError: a process died or was killed, or no processes can be started.
    """
    # `pool.map` cancels its futures when it is left. If processes died of the same signal, the thread of the pool gives
    # these futures an exception at that moment, and up to Python 3.11 ends with a traceback.
    parts = (jobs[start : start + chunk] for start in range(0, len(jobs), chunk))
    try:
        with _pool(workers, advice="") as pool:
            waiting = deque(_submit(pool, partial(_each, function), part, advice="") for part in parts)
            while waiting:
                yield from waiting.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "a process was killed, for lack of memory perhaps; free some and give the same command again"
        ) from None


def _each(function: Callable[[Job], Result], jobs: Sequence[Job]) -> list[Result]:
    return [function(job) for job in jobs]


class _LateError(Exception):
    """No process finished in time; leaving the context of ``_pool`` kills them."""


def _alone(function: Callable[[Job], Result], job: Job, *, seconds: float) -> Result | None:
    with suppress(_LateError, BrokenProcessPool), _pool(1) as pool:
        future = _submit(pool, function, job)
        if not wait([future], timeout=seconds).done:
            raise _LateError
        return future.result()
    return None


@contextmanager
def _pool(workers: int, *, advice: str = FEWER) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool whose processes are killed if an exception, such as an interrupt, leaves the context."""
    before = set(multiprocessing.active_children())
    with _starting(advice):
        pool = ProcessPoolExecutor(workers, initializer=_ignore_interrupts)
    try:
        yield pool
    except BaseException:
        # Otherwise the pool would wait for running jobs.
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(
    pool: ProcessPoolExecutor, function: Callable[[Job], Result], job: Job, *, advice: str = FEWER
) -> Future[Result]:
    with _starting(advice):
        return pool.submit(function, job)


@contextmanager
def _starting(advice: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"no processes can be started ({error.strerror}); look for a lack of memory, shared memory (/dev/shm) or "
            f"open files (ulimit -n){advice}"
        ) from None


def _ignore_interrupts() -> None:
    # The main process receives the interrupt too, and ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
