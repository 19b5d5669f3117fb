"""``make test-faults``: runs the cases and prints the tables; the exit code is 1 if any case shows a fault."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue

from faults.cases import NOT_REACHED, Case, Outcome, Whole, run_case, run_whole
from faults.choose import COUNTS, choose, counted, planted_cases
from faults.machine import MACHINES, may_mount
from faults.planted import PLANTED
from faults.scenarios import SCENARIOS, Corpus, make_corpus
from faults.server import Server, serving


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what the options ask for."""
    parser = argparse.ArgumentParser(prog="make test-faults", description="Crashes, and faults of the machine.")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another one chooses other points (default 0)")
    parser.add_argument("--share", type=float, default=1.0, metavar="X", help="share of the cases (default 1)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"some of: {', '.join(SCENARIOS)}")
    parser.add_argument("--case", metavar="NAME", help="this case alone, as a report names it")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), metavar="N", help="cases at a time")
    parser.add_argument("--out", type=Path, default=Path("build/faults"), metavar="DIR", help="default: build/faults")
    options = parser.parse_args(argv)
    if not Path("/proc/self/stat").is_file():
        parser.error("looking at processes needs Linux")
    names = [options.case.split(":")[0]] if options.case else options.only or list(SCENARIOS)
    if unknown := [name for name in names if name not in SCENARIOS]:
        parser.error(f"no scenario {unknown[0]!r}; there are {', '.join(SCENARIOS)}")
    folder = options.out.absolute()
    shutil.rmtree(folder / "failures", ignore_errors=True)
    started = time.monotonic()
    with serving(2 * options.jobs) as servers:
        suite = Suite(servers, folder, names)
        cases = [named(options.case)] if options.case else choose(suite.wholes, seed=options.seed, share=options.share)
        outcomes = suite.run(cases)
        sys.stdout.write(table(outcomes))
        sys.stdout.write(f"killed in\n{counted([case for case in cases if case.kind == 'kill'])}")
        bad = sum(bool(outcome.faults) for outcome in outcomes)
        if not options.case and "train" in names:
            bad += suite.machines()
            bad += suite.planted()
    sys.stdout.write(f"seed {options.seed}, {time.monotonic() - started:.0f} s with {options.jobs} at a time\n")
    for outcome in outcomes:
        if outcome.faults:
            sys.stdout.write(f"{outcome.case.name} ({outcome.case.stage}, {outcome.case.area})\n")
            sys.stdout.writelines(f"    {fault}\n" for fault in outcome.faults[:6])
    if bad:
        sys.stdout.write(f"{bad} faults; what cases have left is in {folder / 'failures'}\n")
    return 1 if bad else 0


class Suite:
    """Runs cases.

    Args:
        servers: two for each case at a time.
        folder: for all files.
        names: the scenarios.
    """

    def __init__(self, servers: Sequence[Server], folder: Path, names: Sequence[str]) -> None:
        self.servers = servers
        self.folder = folder
        self.corpus: Corpus = make_corpus(folder / "corpus", servers[0])
        self.wholes: Mapping[str, Whole] = {
            name: run_whole(servers[0], self.corpus, SCENARIOS[name], folder / "whole" / name) for name in names
        }

    def run(self, cases: Sequence[Case]) -> list[Outcome]:
        """The outcomes of cases, in their order; the folders of those that show a fault are kept."""
        queue: SimpleQueue[tuple[int, Case]] = SimpleQueue()
        for item in enumerate(cases):
            queue.put(item)
        found: dict[int, Outcome] = {}

        def take(job: int) -> None:
            place = self.folder / f"job{job}"
            while True:
                try:
                    number, case = queue.get_nowait()
                except Empty:
                    return
                own = self.servers[2 * job : 2 * job + 2]
                found[number] = outcome = run_case(own, self.corpus, case, self.wholes[case.scenario], place)
                told = " | ".join(outcome.faults)[:600] or "as it should be"
                sys.stderr.write(f"{len(found)}/{len(cases)} {case.name}, {outcome.seconds:.1f} s: {told}\n")
                if outcome.faults and case.planted is None:
                    kept = self.folder / "failures" / case.name.replace(":", "-")
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    shutil.rmtree(kept, ignore_errors=True)
                    place.rename(kept)

        jobs = len(self.servers) // 2
        with ThreadPoolExecutor(jobs) as pool:
            for future in [pool.submit(take, job) for job in range(jobs)]:
                future.result()
        return [found[number] for number in sorted(found)]

    def machines(self) -> int:
        """Runs the faults of the machine; returns the number of those that show a fault of the product."""
        if not may_mount():
            sys.stdout.write(f"machine: {', '.join(MACHINES)}: skipped, mounting takes Linux and root\n")
            return 0
        bad = 0
        for name, machine in MACHINES.items():
            faults = machine(self.servers[0], self.corpus, self.wholes["train"], self.folder / "machine")
            sys.stdout.write(f"machine: {name}: {' | '.join(faults) or 'as it should be'}\n")
            bad += bool(faults)
        return bad

    def planted(self, names: Sequence[str] = tuple(PLANTED)) -> int:
        """Runs the deliberate faults; returns the number of those that are not seen."""
        missed = 0
        server, place = self.servers[0], self.folder / "planted"
        pairs = planted_cases(
            {
                name: run_whole(server, self.corpus, SCENARIOS[PLANTED[name].scenario], place, planted=name).changes
                for name in names
            }
        )
        for (name, _), outcome in zip(pairs, self.run([case for _, case in pairs]), strict=True):
            faults = [fault for fault in outcome.faults if not fault.startswith(NOT_REACHED)]
            said = next((fault for fault in faults if PLANTED[name].says in fault), None)
            sys.stdout.write(f"planted: {name}: {f'MISSED {outcome.faults}' if said is None else said[:160]}\n")
            missed += said is None
        return missed


def named(name: str) -> Case:
    """The case of a name."""
    scenario, kind, point = name.split(":")
    what, at, when = point.split("-")
    (full,) = [one for one in COUNTS if one.replace(", ", "-").replace(" ", "-") == kind]
    return Case(scenario=scenario, kind=full, at=int(at), compute=what == "step", when=when)  # type: ignore[arg-type]


def table(outcomes: Sequence[Outcome]) -> str:
    """A line for each kind of case."""
    lines = [f"{'kind':<20} cases  faults  seconds\n"]
    for kind in [*COUNTS, "all"]:
        own = [outcome for outcome in outcomes if kind in (outcome.case.kind, "all")]
        if own:
            faults = sum(bool(outcome.faults) for outcome in own)
            lines.append(f"{kind:<20} {len(own):>5}  {faults:>6}  {sum(outcome.seconds for outcome in own):>7.0f}\n")
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
