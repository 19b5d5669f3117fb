"""Starts workers, and ends them when a case hangs or takes too much memory; the case after it goes on in a new one."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from fuzz.cases import FAULTS, Outcome, case_folder
from fuzz.corpus import ROOT, Corpus

BATCH = 150
"""Cases of one process: its start takes seconds, and what one case leaves behind meets only so many others."""

START_SECONDS = 120.0
"""What the start of a process may take on a busy machine."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a case may take."""

    seconds: float = 30.0
    memory_mb: float = 2000.0


CaseId = tuple[str, int]
"""A reader and the number of one of its cases."""


def batches(shares: Mapping[str, int]) -> list[list[CaseId]]:
    """The cases of all readers, in pieces that different processes take; each piece has some of every reader."""
    cases = [(name, number) for name, count in shares.items() for number in range(count)]
    cases.sort(key=lambda case: (case[1] + 0.5) / shares[case[0]])
    return [cases[first : first + BATCH] for first in range(0, len(cases), BATCH)]


def run(
    work: Sequence[Sequence[CaseId]], *, seed: int, corpus: Corpus, folder: Path, jobs: int, limits: Limits,
    done: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:  # fmt: skip
    """Runs all batches.

    Args:
        work: what to run.
        seed: of the cases.
        corpus: valid material.
        folder: for the cases' files; those of faults are kept in ``folder/failures``.
        jobs: processes at a time.
        limits: of a case.
        done: called with each outcome as it comes.

    Returns:
        The outcomes, in the order of the batches.
    """
    queue: SimpleQueue[tuple[int, Sequence[CaseId]]] = SimpleQueue()
    for item in enumerate(work):
        queue.put(item)
    found: dict[int, list[Outcome]] = {}

    def take(job: int) -> None:
        with contextlib.suppress(Empty):
            while True:
                position, batch = queue.get_nowait()
                scratch = folder / f"scratch{os.getpid()}-{job}"
                outcomes = found.setdefault(position, [])
                for outcome in run_batch(batch, seed=seed, corpus=corpus, folder=scratch, limits=limits):
                    outcomes.append(outcome)
                    if outcome.end in FAULTS:
                        _keep(outcome, seed, scratch, folder / "failures")
                    done(outcome)
                shutil.rmtree(scratch, ignore_errors=True)

    with ThreadPoolExecutor(jobs) as pool:
        for future in [pool.submit(take, job) for job in range(jobs)]:
            future.result()
    return [outcome for position in sorted(found) for outcome in found[position]]


def run_batch(batch: Sequence[CaseId], *, seed: int, corpus: Corpus, folder: Path, limits: Limits) -> Iterator[Outcome]:
    """The outcomes of a batch, from as many processes as it takes."""
    left = list(batch)
    while left:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for outcome in _one_process(left, seed=seed, corpus=corpus, folder=folder, limits=limits):
            left = left[1:]
            yield outcome


def _one_process(
    cases: Sequence[CaseId], *, seed: int, corpus: Corpus, folder: Path, limits: Limits
) -> Iterator[Outcome]:
    """Outcomes, in order, until all are there or the process is gone; the last one says why, then."""
    reading, writing = os.pipe()
    log = (folder / "worker.txt").open("wb")
    (folder / "cases.json").write_text(json.dumps(list(cases)))
    process = subprocess.Popen(
        [sys.executable, "-m", "fuzz.worker", str(seed), str(corpus.path), str(folder), str(writing)],
        pass_fds=[writing],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=_environment(),
    )
    os.close(writing)
    running: CaseId | None = None
    peak, buffer = 0.0, b""
    deadline = time.monotonic() + START_SECONDS
    end = None
    try:
        while end is None:
            ready, _, _ = select.select([reading], [], [], 0.1)
            # Nobody has to wait for a case that has taken too much before it is through.
            if running is not None:
                peak = max(peak, tree_memory(process.pid))
            if ready:
                content = os.read(reading, 1 << 16)
                if not content:
                    break
                *lines, buffer = (buffer + content).split(b"\n")
                for line in lines:
                    if line.startswith(b"{"):
                        told = Outcome(**json.loads(line))
                        running = None
                        yield _with_memory(told, max(peak, told.peak_mb), limits)
                        deadline = time.monotonic() + START_SECONDS
                    else:
                        reader, number = json.loads(line)
                        running, peak = (reader, number), 0.0
                        deadline = time.monotonic() + limits.seconds
            elif time.monotonic() > deadline:
                end = "hang"
            elif peak > limits.memory_mb:
                end = "memory"
        if end is None:
            # It has closed the pipe: it is done, or is dying and tells why.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(START_SECONDS)
    finally:
        os.close(reading)
        # Its children, too, if it has left any.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        log.close()
    said = (folder / "worker.txt").read_text(errors="backslashreplace")[-3000:]
    if running is not None:
        took = (
            f"killed after {limits.seconds:g} s" if end == "hang" else f"{peak:.0f} MB" if end else f"exit code {code}"
        )
        streams = "".join(path.read_text(errors="backslashreplace")[-2000:] for path in sorted(folder.glob("std*.txt")))
        yield Outcome(
            reader=running[0], number=running[1], end=end or "crash", said=f"{took}\n{streams}{said}",  # type: ignore[arg-type]
            seconds=limits.seconds if end == "hang" else 0.0, peak_mb=round(peak, 1),
        )  # fmt: skip
    elif end is not None or code:
        raise RuntimeError(f"a worker ended with {code} outside of its cases:\n{said}")


def _with_memory(outcome: Outcome, peak: float, limits: Limits) -> Outcome:
    values = {**vars(outcome), "peak_mb": round(peak, 1)}
    if peak > limits.memory_mb and outcome.end not in FAULTS:
        values |= {"end": "memory", "said": f"{peak:.0f} MB; {outcome.said}"}
    return Outcome(**values)


def _environment() -> dict[str, str]:
    # The checkout first: the folder of tests has folders that are called as the packages are.
    path = os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))
    own = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    return {**os.environ, **own, "PYTHONFAULTHANDLER": "1", "COLUMNS": "200", "NO_COLOR": "1"}


def tree_memory(pid: int) -> float:
    """Resident memory of the largest process among ``pid`` and its children, in MB; 0 where /proc is not."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return max((_resident(one) for one in found), default=0.0)


def _resident(pid: int) -> float:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return 0.0


def _keep(outcome: Outcome, seed: int, scratch: Path, failures: Path) -> None:
    """Stores the input of a fault and how to see it again."""
    name = case_folder(outcome.reader, outcome.number)
    kept = failures / f"{name}-seed{seed}"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    own = scratch / name
    with contextlib.suppress(shutil.Error, OSError):
        # Pipes and devices are named, not read.
        shutil.copytree(own, kept / "input", symlinks=True, ignore=_special)
    text = f"{outcome.end}\n{reproduce(outcome, seed)}\n\n{outcome.said}\n"
    (kept / "report.txt").write_text(text, encoding="utf-8", errors="backslashreplace")


def _special(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (Path(folder, name).is_file() or Path(folder, name).is_dir())]


def reproduce(outcome: Outcome, seed: int) -> str:
    """The command that runs the case again."""
    return f"make fuzz FUZZ_ARGS='--only {outcome.reader} --seed {seed} --case {outcome.number}'"
