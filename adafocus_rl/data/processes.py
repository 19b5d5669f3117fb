"""One function on many videos in several processes, of which any may die in a codec without taking the others along."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import TypeVar

from adafocus_rl.errors import UserError

Job = TypeVar("Job")
Result = TypeVar("Result")


def may_start_processes() -> bool:
    """Whether this process may have others below it.

    A daemonic one may not, and such are the workers of Gymnasium's ``AsyncVectorEnv``, of Stable-Baselines3's
    ``SubprocVecEnv`` and of a ``DataLoader``: there, everything has to be done in the process itself.
    """
    return not multiprocessing.current_process().daemon


MAIN_GUARD = (
    "where processes are spawned, each runs the main script again before anything else; put what the script does under "
    '`if __name__ == "__main__":`, or decode in the main process (data.workers 0)'
)
"""What to do about a script that would start processes in the processes that it starts."""


def check_main_guard() -> None:
    """Before processes are started.

    Raises:
        UserError: this is a spawned process that is still at the main script, which lacks a guard.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UserError(f"this process was started to decode, and would start others: {MAIN_GUARD}")


def is_worker() -> bool:
    """Whether this process is one of several that work side by side: a daemonic one, or a fork.

    Such a process is to compute in one thread. In a fork there is no choice: OpenMP's threads stay behind in the
    process that it was forked from, and the first computation in several would wait for them without end.
    """
    process = multiprocessing.current_process()
    method = getattr(process, "_start_method", None) or multiprocessing.get_start_method(allow_none=True)
    return process.daemon or (multiprocessing.parent_process() is not None and method == "fork")


def run_in_processes(
    function: Callable[[Job], Result], jobs: Sequence[Job], *, workers: int, seconds: float
) -> Iterator[tuple[int, Result | None]]:
    """Call a function on every job.

    Args:
        function: can be pickled; what it raises is raised here.
        jobs: can be pickled.
        workers: processes; 0 works in this one, where a crash is everybody's, and so does any number where
            processes may not be started.
        seconds: how long a process may be at one job; it is ended then. In this process there is no end.

    Yields:
        (position of the job, what the function returned), as they finish; None where the process died or was ended:
        those jobs that were under way then are tried again, each in a process of its own.
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
                # Few at a time: all that are under way when a process dies have to be done again.
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


class _LateError(Exception):
    """No process has come back in time: the block of ``_pool`` ends them."""


def _alone(function: Callable[[Job], Result], job: Job, *, seconds: float) -> Result | None:
    with suppress(_LateError, BrokenProcessPool), _pool(1) as pool:
        future = _submit(pool, function, job)
        if not wait([future], timeout=seconds).done:
            raise _LateError
        return future.result()
    return None


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that are ended by force when the block is left by an exception, an interrupt, say."""
    before = set(multiprocessing.active_children())
    with _starting():
        pool = ProcessPoolExecutor(workers, initializer=_ignore_interrupts)
    try:
        yield pool
    except BaseException:
        # Otherwise what is under way would be waited for.
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, function: Callable[[Job], Result], job: Job) -> Future[Result]:
    with _starting():
        return pool.submit(function, job)


@contextmanager
def _starting() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"no processes can be started ({error.strerror}); look for a lack of memory, shared memory (/dev/shm) or "
            "open files (ulimit -n), use fewer (--workers), or work in the main process (--workers 0)"
        ) from None


def _ignore_interrupts() -> None:
    # The main process is interrupted as well, and ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
