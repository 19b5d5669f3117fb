"""``make curves``: trains the seeds and prints the intervals; with ``--write``, stores them in ``curves.json``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from curves.interval import STORED, intervals, outside
from curves.training import read, recipe, train

SEEDS = tuple(range(11))


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the options ask for."""
    parser = argparse.ArgumentParser(prog="make curves", description="Training curves of the embedded recipe.")
    parser.add_argument("--write", action="store_true", help=f"store the curves in {STORED.name}")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, metavar="N", help="default: 0 to 10")
    parser.add_argument("--out", type=Path, default=Path("build/curves"), metavar="DIR", help="default: build/curves")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    folder = options.out.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    path, runs = recipe(folder), []
    for seed in options.seeds:
        run, started = folder / f"seed{seed}", time.process_time()
        # A finished run of an interrupted call is kept; remove the folder to train again.
        runs.append(read(run) if (run / "results.json").is_file() else train(path, run, seed=seed))
        sys.stderr.write(f"seed {seed}: {time.process_time() - started:.0f} s of processor time\n")
    within = intervals(runs)
    for name, (low, high) in within.items():
        sys.stdout.write(f"{name:28} {low:8.4f} to {high:8.4f}\n")
    if options.write:
        content = {
            "command": "make curves CURVES_ARGS=--write",
            "seeds": list(options.seeds),
            "intervals": within,
            "curves": {name: [[round(value, 6) for value in curves[name]] for curves in runs] for name in runs[0]},
        }
        STORED.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    sys.stdout.writelines(
        f"seed {seed}: {one}\n"
        for seed, curves in zip(options.seeds, runs, strict=True)
        for one in outside(curves, within)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
