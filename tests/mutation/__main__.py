"""``make mutants``: runs the mutants and prints the table; the exit code is 1 if a survivor is not accepted."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mutation.operators import mutants
from mutation.runner import Result, accepted, outdated, run, unexplained
from mutation.targets import TARGETS

MOST = 0.1
"""Largest share of survivors, accepted ones included."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the options ask for."""
    parser = argparse.ArgumentParser(prog="make mutants", description="Deliberate faults that tests must detect.")
    parser.add_argument(
        "--only", nargs="+", choices=[*TARGETS], metavar="MODULE", help=f"some of: {', '.join(TARGETS)}"
    )
    parser.add_argument("--number", type=int, nargs="+", metavar="N", help="these mutants of one module alone")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), metavar="N", help="processes")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    parser.add_argument("--out", type=Path, default=Path("build/mutants.json"), help="default: build/mutants.json")
    options = parser.parse_args(argv)
    if not hasattr(os, "fork"):
        parser.error("mutants run in forked processes, which need a POSIX system")
    chosen: dict[str, Sequence[int]] = {
        name: range(len(mutants(TARGETS[name].source))) for name in options.only or TARGETS
    }
    if options.number:
        if len(chosen) != 1:
            parser.error("--number needs --only with one module")
        chosen = dict.fromkeys(chosen, options.number)
    if options.list:
        for name, numbers in chosen.items():
            every = mutants(TARGETS[name].source)
            sys.stdout.writelines(
                f"{name} {number} line {every[number].line}: {every[number].key}\n" for number in numbers
            )
        return 0
    started = time.monotonic()
    results = run(chosen, jobs=options.jobs, done=Progress(sum(map(len, chosen.values()))))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps([vars(one) for one in results], indent=1, ensure_ascii=False), encoding="utf-8")
    reasons = accepted()
    sys.stdout.write(table(results))
    sys.stdout.write(f"{time.monotonic() - started:.0f} s with {options.jobs} processes; each mutant: {options.out}\n")
    new, old = unexplained(results, reasons), outdated(results, reasons)
    sys.stdout.writelines(f"{one.end}: {one.target} {one.number} line {one.line}: {one.key} {one.by}\n" for one in new)
    sys.stdout.writelines(f"accepted, but not a survivor: {one}\n" for one in old)
    many = not options.number and share(results) > MOST
    if many:
        sys.stdout.write(f"{share(results):.1%} of the mutants survive; at most {MOST:.0%} may\n")
    return 1 if new or old or many else 0


def share(results: Sequence[Result]) -> float:
    """Return the share of survivors."""
    return sum(one.end == "survived" for one in results) / len(results)


def table(results: Sequence[Result]) -> str:
    """Return a row for each module and one for all."""
    rows = [("module", "mutants", "killed", "timeout", "survived", "share", "seconds")]
    for name in [*dict.fromkeys(one.target for one in results), "all"]:
        own = [one for one in results if name in (one.target, "all")]
        counts = [sum(one.end == end for one in own) for end in ("killed", "timeout", "survived")]
        rows.append(
            (name, str(len(own)), *map(str, counts), f"{share(own):.1%}", f"{sum(one.seconds for one in own):.0f}")
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(cells)) + "\n"
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    )


class Progress:
    """A line on stderr every ten seconds, and one for each survivor."""

    def __init__(self, total: int) -> None:
        self.total, self.count, self.survived, self.said = total, 0, 0, time.monotonic()

    def __call__(self, result: Result) -> None:
        self.count += 1
        if result.end == "survived":
            self.survived += 1
            sys.stderr.write(f"survived: {result.target} {result.number} line {result.line}: {result.key}\n")
        if time.monotonic() - self.said > 10:
            self.said = time.monotonic()
            sys.stderr.write(f"{self.count}/{self.total}, {self.survived} survivors, at {result.target}\n")


if __name__ == "__main__":
    sys.exit(main())
