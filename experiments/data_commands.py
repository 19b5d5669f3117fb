"""The commands around a run: embedded data, and the names that can be used."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from adafocus_rl.agents import AGENTS
from adafocus_rl.data import DATASETS
from adafocus_rl.envs import REWARDS
from adafocus_rl.experiments.command_line import CommandParser, print_json
from adafocus_rl.experiments.embedded import make_embedded, maker_config
from adafocus_rl.experiments.parser import one_sentence
from adafocus_rl.experiments.recipe_files import recipe_names
from adafocus_rl.experiments.reporting import say
from adafocus_rl.models import ENCODERS


def data(argv: Sequence[str]) -> int:
    """``adafocus data make NAME OUT``."""
    parser = CommandParser(prog="adafocus data", description="Embedded data.")
    parser.usage = "adafocus data make NAME OUT [--OPTION=VALUE ...]"
    parser.add_argument("action", choices=["make"], help="make a dataset, or find it complete")
    parser.add_argument("name", help=f"one of: {', '.join(DATASETS.names())}; NAME --help shows its options")
    parser.add_argument("out", help="folder to write")
    asks_for_help = len(argv) > 1 and argv[1] in DATASETS and bool({"-h", "--help"} & {*argv})
    options = parser.parse_args([*argv[:2], "OUT"] if asks_for_help else argv[:3])
    prog = f"adafocus data make {options.name} {options.out}"
    settings = ArgumentParser(prog=prog, exit_on_error=False, allow_abbrev=False)
    settings.add_class_arguments(maker_config(options.name), None, fail_untyped=True)
    with one_sentence(settings):
        parsed = settings.parse_args(["--help"] if asks_for_help else list(argv[3:]))
    lists = make_embedded(options.name, Path(options.out).expanduser(), vars(parsed))
    for split, path in lists.items():
        say(f"{split}: {path}")
    return 0


def names(argv: Sequence[str]) -> int:
    """``adafocus list``."""
    parser = CommandParser(prog="adafocus list", description="Names that recipes and options can use.")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")
    options = parser.parse_args(argv)
    found = {
        "recipes": recipe_names(),
        "agents": AGENTS.names(),
        "encoders": ENCODERS.names(),
        "datasets": DATASETS.names(),
        "rewards": REWARDS.names(),
    }
    if options.json:
        print_json(found)
    else:
        sys.stdout.writelines(f"{kind}: {' '.join(entries)}\n" for kind, entries in found.items())
    return 0
