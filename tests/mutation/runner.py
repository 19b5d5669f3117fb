"""Gives mutants to worker processes, and compares the survivors with the list of accepted ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal

from mutation.operators import mutants
from mutation.targets import ROOT, TARGETS

ACCEPTED = Path(__file__).with_name("accepted.json")
"""By target, the key of each accepted survivor and the reason why it is no fault, or none that a test should detect."""

PORTION = 120
"""Mutants of one worker, which takes seconds to start."""

End = Literal["killed", "timeout", "survived", "broken"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What has become of a mutant.

    Attributes:
        target: name of its module in ``TARGETS``.
        number: its number among the module's mutants.
        key: its name in ``accepted.json``.
        line: line of the module.
        end: whether a test has failed, it took too long, no test has failed, or the tests did not run.
        by: the test that failed, or why it is broken.
        seconds: processor time.
    """

    target: str
    number: int
    key: str
    line: int
    end: End
    by: str
    seconds: float


def run(
    chosen: Mapping[str, Sequence[int]], *, jobs: int, done: Callable[[Result], None] = lambda result: None
) -> list[Result]:
    """Run mutants.

    Args:
        chosen: numbers of the mutants by target.
        jobs: worker processes.
        done: called with each result as it comes, in any order.

    Returns:
        The results in the order of ``chosen``.

    Raises:
        RuntimeError: if a target's tests fail without a mutant, or a worker ends.
    """
    queue: SimpleQueue[tuple[str, Sequence[int]]] = SimpleQueue()
    for target, numbers in chosen.items():
        for first in range(0, len(numbers), PORTION):
            queue.put((target, numbers[first : first + PORTION]))
    every = {target: mutants(TARGETS[target].source) for target in chosen}
    found: dict[tuple[str, int], Result] = {}

    def take() -> None:
        with suppress(Empty):
            while True:
                target, numbers = queue.get_nowait()
                with _worker(target) as ask:
                    _check_baseline(target, ask(None))
                    for number in numbers:
                        mutant = every[target][number]
                        result = Result(target=target, number=number, key=mutant.key, line=mutant.line, **ask(number))
                        found[target, number] = result
                        done(result)

    with ThreadPoolExecutor(jobs) as pool:
        for future in [pool.submit(take) for _ in range(jobs)]:
            future.result()
    return [found[target, number] for target, numbers in chosen.items() for number in numbers]


@contextmanager
def _worker(target: str) -> Iterator[Callable[[int | None], dict[str, Any]]]:
    """Start a worker for a target, and yield the function that asks it."""
    # The checkout first: the folder of tests has folders that are called as the packages are.
    path = os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "mutation.worker", target],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **threads, "PYTHONPATH": path},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    reading, writing = process.stdout, process.stdin

    def ask(number: int | None) -> dict[str, Any]:
        with suppress(BrokenPipeError):
            writing.write(json.dumps(number) + "\n")
            writing.flush()
        line = reading.readline()
        if not line:
            raise RuntimeError(f"a worker ended with {process.wait()} while it ran {target} {number}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    try:
        yield ask
    finally:
        process.kill()
        with suppress(BrokenPipeError):
            process.communicate()


def _check_baseline(target: str, answer: Mapping[str, Any]) -> None:
    if answer["end"] != "survived":
        raise RuntimeError(f"the tests of {target} fail without any fault: {answer['end']}, {answer['by']}")


def accepted() -> dict[str, dict[str, str]]:
    """Return the reasons of all accepted survivors, by target and key."""
    found: dict[str, dict[str, str]] = json.loads(ACCEPTED.read_text(encoding="utf-8"))
    return found


def unexplained(results: Sequence[Result], reasons: Mapping[str, Mapping[str, str]]) -> list[Result]:
    """Return the survivors without a reason, and mutants whose tests did not run."""
    return [
        one
        for one in results
        if one.end == "broken" or (one.end == "survived" and one.key not in reasons.get(one.target, {}))
    ]


def outdated(results: Sequence[Result], reasons: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the accepted survivors that are killed now, or no longer exist, of the targets that ran whole."""
    found = []
    for target in dict.fromkeys(one.target for one in results):
        own = {one.key: one.end for one in results if one.target == target}
        if len(own) == len(mutants(TARGETS[target].source)):
            found += [
                f"{target}: {key}" for key in reasons.get(target, {}) if own.get(key) not in ("survived", "timeout")
            ]
    return found
