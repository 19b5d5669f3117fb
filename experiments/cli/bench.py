"""``adafocus bench``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict

from adafocus_rl.experiments.bench.benchmarks import BENCHMARKS, timings_of
from adafocus_rl.experiments.terminal.command_line import CommandParser, print_json


def bench(argv: Sequence[str]) -> int:
    """Run ``adafocus bench``."""
    parser = CommandParser(prog="adafocus bench", description="Time the project's implementations against plain ones.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, …")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")
    options = parser.parse_args(argv)
    for name in options.names:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark {name!r}; choose some of: {', '.join(BENCHMARKS)}")

    from adafocus_rl.experiments.run.environment import environment
    from adafocus_rl.experiments.run.runtime import find_device

    device = find_device(options.device)
    timings = []
    for name in options.names or BENCHMARKS:
        for timing in timings_of(name, device):
            timings.append(timing)
            # At once, because all of them take minutes; with --json, stdout is for the whole.
            print(timing.text, file=sys.stderr if options.json else sys.stdout, flush=True)
    if options.json:
        print_json({"device": str(device), "environment": environment(), "timings": [asdict(one) for one in timings]})
    return 0
