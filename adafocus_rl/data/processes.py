"""One function on many videos in several processes, of which any may die in a codec without taking the others along."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_in_processes(
    function: Callable[[Job], Result], jobs: Sequence[Job], *, workers: int
) -> Iterator[tuple[int, Result | None]]:
    """Call a function on every job.

    Args:
        function: can be pickled; what it raises is raised here.
        jobs: can be pickled.
        workers: processes; 0 works in this one, where a crash is everybody's.

    Yields:
        (position of the job, what the function returned), as they finish; None where the process died: those jobs that
        were under way then are tried again, each in a process of its own.
    """
    if workers == 0:
        yield from ((position, function(job)) for position, job in enumerate(jobs))
        return
    waiting = list(range(len(jobs)))[::-1]
    while waiting:
        lost: list[int] = []
        with ProcessPoolExecutor(workers) as pool:
            running: dict[Future[Result], int] = {}
            while not lost and (waiting or running):
                # Few at a time: all that are under way when a process dies have to be done again.
                while waiting and len(running) < 2 * workers:
                    position = waiting.pop()
                    running[pool.submit(function, jobs[position])] = position
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    position = running.pop(future)
                    try:
                        yield position, future.result()
                    except BrokenProcessPool:
                        lost.append(position)
            lost += running.values()
        for position in sorted(lost):
            yield position, _alone(function, jobs[position])


def _alone(function: Callable[[Job], Result], job: Job) -> Result | None:
    with ProcessPoolExecutor(1) as pool:
        try:
            return pool.submit(function, job).result()
        except BrokenProcessPool:
            return None
