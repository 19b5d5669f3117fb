"""Run jobs, such as trainings, in parallel processes; one that fails does not stop the others."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare.one_process import LOG
from adafocus_rl.experiments.terminal.command_line import one_line
from adafocus_rl.experiments.terminal.interrupts import without_interrupts


class Job(Protocol):
    """A job, as plain values that can be sent to another process."""

    @property
    def name(self) -> str:
        """Name of the variant or system; several seeds share it."""

    @property
    def folder(self) -> Path:
        """Folder for all output of the job."""

    def run(self) -> None:
        """Do the job, and write its result.

        Raises:
            UserError: if it cannot be done.
        """


J = TypeVar("J", bound=Job)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a variant has no result, or fewer than requested."""

    name: str
    """Name of the variant."""

    reason: str
    """One sentence."""


def run_all(jobs: Sequence[J], *, processes: int, done: Callable[[J], None] = lambda job: None) -> list[Failure]:
    """Run jobs; a single process runs them in order.

    After the first failure of a name, its jobs that have not started are skipped: they would fail likewise.

    Args:
        jobs: the jobs to run.
        processes: how many run at a time; 1 runs them in this process.
        done: called with each job that has finished.

    Returns:
        The first failure of each name.

    Raises:
        KeyboardInterrupt: after the worker processes were terminated; what they had finished is kept.
    """
    failures: dict[str, Failure] = {}
    results = _one_by_one(jobs, failures) if processes == 1 else _side_by_side(jobs, failures, processes)
    for job, reason in results:
        if reason is None:
            done(job)
        else:
            failures.setdefault(job.name, Failure(name=job.name, reason=reason))
    return list(failures.values())


def _one_by_one(jobs: Sequence[J], failures: Mapping[str, Failure]) -> Iterator[tuple[J, str | None]]:
    """Yield each job, and the reason if it failed."""
    for job in jobs:
        if job.name not in failures:
            yield job, attempt(job)


def _side_by_side(jobs: Sequence[J], failures: Mapping[str, Failure], processes: int) -> Iterator[tuple[J, str | None]]:
    # Spawned, not forked: a fork of a process with torch's threads or a CUDA context may hang.
    context = multiprocessing.get_context("spawn")
    waiting = list(jobs)
    running: dict[Future[str | None], J] = {}
    with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=context, initializer=_ignore_interrupts) as pool:
        try:
            while waiting or running:
                # Submitted one by one, so that jobs of a name that has failed can be skipped.
                while waiting and len(running) < processes:
                    job = waiting.pop(0)
                    if job.name not in failures:
                        # Ctrl-C reaches every process of a terminal; only this process reacts, and ends the others.
                        with without_interrupts():
                            running[pool.submit(attempt, job)] = job
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    try:
                        yield job, future.result()
                    except BrokenProcessPool:
                        yield job, BROKEN
                        yield from ((other, BROKEN) for other in [*running.values(), *waiting])
                        return
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()
            raise


BROKEN = "a process was killed, for lack of memory perhaps; run the same command again with a smaller --jobs"


def attempt(job: Job) -> str | None:
    """Run a job, and return None or the reason why it failed."""
    try:
        job.run()
    except UserError as error:
        return one_line(str(error))
    except Exception as error:
        # An agent or a method may be third-party code; the traceback in the log is for its author.
        log, reason = job.folder / LOG, f"{type(error).__name__}: {one_line(str(error))}"
        try:
            job.folder.mkdir(parents=True, exist_ok=True)
            with log.open("a", encoding="utf-8") as file:
                file.write(traceback.format_exc())
        except OSError:  # the disk is full, for example, which may be the reason itself
            return reason
        return f"{reason}; {log} has the whole story"
    return None


def _ignore_interrupts() -> None:
    """Ignore Ctrl-C, which reaches every process of a terminal; the main process ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
