"""Run trainings in parallel processes; one that fails does not stop the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare.training import Training, run_training
from adafocus_rl.experiments.terminal.command_line import one_line
from adafocus_rl.experiments.terminal.interrupts import without_interrupts


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a variant has no result, or fewer than requested."""

    name: str
    """Name of the variant."""

    reason: str
    """One sentence."""


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(
    trainings: Sequence[Training], *, processes: int, done: Callable[[Training], None] = lambda training: None
) -> list[Failure]:
    """Run trainings; a single process runs them in order.

    After the first failure of a variant, its trainings that have not started are skipped: they would fail likewise.

    Args:
        trainings: the trainings to run.
        processes: how many run at a time; 1 runs them in this process.
        done: called with each training that has finished.

    Returns:
        The first failure of each variant.

    Raises:
        KeyboardInterrupt: after the worker processes were terminated; what they had finished is kept.
    """
    failures: dict[str, Failure] = {}
    results = _one_by_one(trainings, failures) if processes == 1 else _side_by_side(trainings, failures, processes)
    for training, reason in results:
        if reason is None:
            done(training)
        else:
            failures.setdefault(training.name, Failure(name=training.name, reason=reason))
    return list(failures.values())


Outcome = tuple[Training, str | None]
"""A training, and the reason if it failed."""


def _one_by_one(trainings: Sequence[Training], failures: dict[str, Failure]) -> Iterator[Outcome]:
    for training in trainings:
        if training.name not in failures:
            yield training, attempt(training)


def _side_by_side(trainings: Sequence[Training], failures: dict[str, Failure], processes: int) -> Iterator[Outcome]:
    # Spawned, not forked: a fork of a process with torch's threads or a CUDA context may hang.
    context = multiprocessing.get_context("spawn")
    waiting = list(trainings)
    running: dict[Future[str | None], Training] = {}
    with ProcessPoolExecutor(
        min(processes, len(trainings)), mp_context=context, initializer=_ignore_interrupts
    ) as pool:
        try:
            while waiting or running:
                # Submitted one by one, so that trainings of a variant that has failed can be skipped.
                while waiting and len(running) < processes:
                    training = waiting.pop(0)
                    if training.name not in failures:
                        # Ctrl-C reaches every process of a terminal; only this process reacts, and ends the others.
                        with without_interrupts():
                            running[pool.submit(attempt, training)] = training
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    training = running.pop(future)
                    try:
                        yield training, future.result()
                    except BrokenProcessPool:
                        yield training, BROKEN
                        yield from ((other, BROKEN) for other in [*running.values(), *waiting])
                        return
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()
            raise


BROKEN = "a process was killed, for lack of memory perhaps; run the same command again with a smaller --jobs"


def attempt(training: Training) -> str | None:
    """Run a training, and return None or the reason why it failed."""
    try:
        run_training(training)
    except UserError as error:
        return one_line(str(error))
    except Exception as error:
        # An agent may be third-party code; the traceback in the log is for its author.
        log = training.folder / "log.txt"
        training.folder.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(traceback.format_exc())
        return f"{type(error).__name__}: {one_line(str(error))}; {log} has the whole story"
    return None


def _ignore_interrupts() -> None:
    """Ignore Ctrl-C, which reaches every process of a terminal; the main process ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
