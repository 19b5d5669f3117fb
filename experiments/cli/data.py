"""The commands around a run: embedded data, and the names that can be used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from adafocus_rl.agents import AGENTS
from adafocus_rl.agents.methods import METHODS
from adafocus_rl.data import DATASETS
from adafocus_rl.envs import REWARDS
from adafocus_rl.experiments.config.embedded import make_embedded, maker_config
from adafocus_rl.experiments.config.key_help import config_help
from adafocus_rl.experiments.config.parser import parse_options
from adafocus_rl.experiments.config.recipe_files import recipe_names
from adafocus_rl.experiments.terminal.command_line import CommandParser, print_json, print_lines
from adafocus_rl.experiments.terminal.progress import say
from adafocus_rl.files import user_path
from adafocus_rl.models import ENCODERS

ACTIONS = {
    "make": ("data:make", "make an embedded dataset, or find it complete"),
    "check": ("data_check:check", "find what is wrong with lists and videos; a picture of what the loader sees"),
    "index": ("data_index:index", "training and validation lists of a folder of videos"),
    "extract": ("data_extract:extract", "the frames of videos as folders of images, for repeated training"),
}
"""By name: the function, imported only when it is asked for, and one line of help."""


def data(argv: Sequence[str]) -> int:
    """``adafocus data make|check|index|extract``."""
    parser = CommandParser(prog="adafocus data", description="Videos and their lists.")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, (_, summary) in ACTIONS.items():
        actions.add_parser(name, help=summary, add_help=False)
    module, function = ACTIONS[parser.parse_args(argv[:1]).action][0].split(":")
    action: Callable[[Sequence[str]], int] = getattr(import_module(f"adafocus_rl.experiments.cli.{module}"), function)
    return action(argv[1:])


def make(argv: Sequence[str]) -> int:
    """``adafocus data make NAME OUT``."""
    parser = CommandParser(prog="adafocus data make", description="Embedded data.")
    parser.usage = "adafocus data make NAME OUT [--OPTION=VALUE ...]"
    parser.add_argument("name", help=f"one of: {', '.join(DATASETS.names())}; NAME --help shows its options")
    parser.add_argument("out", help="folder to write")
    asks_for_help = len(argv) > 0 and argv[0] in DATASETS and bool({"-h", "--help"} & {*argv})
    options = parser.parse_args([*argv[:1], "OUT"] if asks_for_help else argv[:2])
    kind = maker_config(options.name)
    if asks_for_help:
        sys.stdout.write(config_help(kind, f"adafocus data make {options.name} OUT [--OPTION=VALUE ...]"))
        raise SystemExit(0)
    lists = make_embedded(options.name, user_path(options.out), parse_options(kind, argv[2:]))
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
        "methods": METHODS.names(),
        "encoders": ENCODERS.names(),
        "datasets": DATASETS.names(),
        "rewards": REWARDS.names(),
    }
    if options.json:
        print_json(found)
    else:
        print_lines(*(f"{kind}: {' '.join(entries)}" for kind, entries in found.items()), limit=None)
    return 0
