"""``make fuzz``: runs the cases and prints the table; the exit code is 1 if any case is a fault."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import fuzz.readers  # noqa: F401  # announces them
from fuzz.cases import FAULTS, READERS, Outcome, shares
from fuzz.corpus import make_corpus
from fuzz.runner import Limits, batches, reproduce, run

COLUMNS = ("cases", "fine", "sentence", "traceback", "hang", "crash", "memory", "code", "unclear", "accepted")
SHOWN = 12
"""Faults that are told at the end; the rest is in the folder."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what the options ask for."""
    parser = argparse.ArgumentParser(prog="make fuzz", description="Hostile input for every reader.")
    parser.add_argument("--cases", type=int, default=5400, metavar="N", help="of all readers together (default 5400)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed makes other cases (default 0)")
    parser.add_argument("--only", nargs="+", metavar="READER", help=f"some of: {', '.join(default_readers())}")
    parser.add_argument("--case", type=int, metavar="N", help="this case of one reader alone")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), metavar="N", help="processes")
    parser.add_argument("--limit", type=float, default=30.0, metavar="S", help="seconds of a case (default 30)")
    parser.add_argument("--memory", type=float, default=2000.0, metavar="MB", help="of a case (default 2000)")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), metavar="DIR", help="default: build/fuzz")
    options = parser.parse_args(argv)
    names = options.only or default_readers()
    if unknown := [name for name in names if name not in READERS]:
        parser.error(f"no reader {unknown[0]!r}; there are {', '.join(READERS)}")
    if os.name != "posix":
        parser.error("limits on time and memory need a POSIX system")
    one = options.case
    work = batches(shares(options.cases, names)) if one is None else [[(name, one) for name in names]]
    folder = options.out.absolute()
    corpus = make_corpus(folder / "corpus")
    shutil.rmtree(folder / "failures", ignore_errors=True)
    started = time.monotonic()
    limits = Limits(seconds=options.limit, memory_mb=options.memory)
    outcomes = run(
        work,
        seed=options.seed,
        corpus=corpus,
        folder=folder,
        jobs=options.jobs,
        limits=limits,
        done=Progress(sum(map(len, work))),
    )
    sys.stdout.write(table(outcomes))
    sys.stdout.write(f"seed {options.seed}, {time.monotonic() - started:.0f} s with {options.jobs} processes\n")
    faults = [outcome for outcome in outcomes if outcome.end in FAULTS]
    for fault in faults[:SHOWN]:
        last = (fault.said.strip().splitlines() or [""])[-1]
        sys.stdout.write(f"{fault.end}: {last[:300]}\n  {reproduce(fault, options.seed)}\n")
    if faults:
        sys.stdout.write(f"{len(faults)} faults; their inputs are in {folder / 'failures'}\n")
    if options.case is not None:
        sys.stdout.writelines(
            f"{outcome.reader} {outcome.number}: {outcome.end}\n{outcome.said}\n" for outcome in outcomes
        )
    return 1 if faults else 0


def default_readers() -> list[str]:
    """All that have a weight."""
    return [one.name for one in READERS.values() if one.weight]


def table(outcomes: Sequence[Outcome]) -> str:
    """A row for each reader and one for all."""
    rows: list[tuple[str, ...]] = [("reader", *COLUMNS, "seconds", "slowest", "peak MB")]
    readers = list(dict.fromkeys(outcome.reader for outcome in outcomes))
    for name in [*readers, "all"]:
        own = [outcome for outcome in outcomes if name in (outcome.reader, "all")]
        counts = [len(own), *(sum(outcome.end == end for outcome in own) for end in COLUMNS[1:])]
        seconds = [outcome.seconds for outcome in own]
        peak = max((outcome.peak_mb for outcome in own), default=0.0)
        rows.append((name, *map(str, counts), f"{sum(seconds):.0f}", f"{max(seconds, default=0):.1f}", f"{peak:.0f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + "\n"
        for row in rows
    )


class Progress:
    """A line on stderr every ten seconds, and one for each fault."""

    def __init__(self, total: int) -> None:
        self.total, self.count, self.faults, self.said = total, 0, 0, time.monotonic()

    def __call__(self, outcome: Outcome) -> None:
        self.count += 1
        self.faults += outcome.end in FAULTS
        if time.monotonic() - self.said > 10:
            self.said = time.monotonic()
            sys.stderr.write(f"{self.count}/{self.total}, {self.faults} faults\n")


if __name__ == "__main__":
    sys.exit(main())
