"""The commands ``adafocus data``, for videos and their lists, and ``adafocus list``, for the names that can be used."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable, Sequence

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
    "make": ("data:make", "make an embedded dataset, unless it is already complete"),
    "check": ("data_check:check", "check lists and videos, and draw a picture of what the loader reads"),
    "index": ("data_index:index", "write training and validation lists for a folder of videos"),
    "extract": ("data_extract:extract", "write the frames of videos as folders of images, for repeated training"),
}
"""For each action, the function, which is imported on demand, and one line of help."""


def data(argv: Sequence[str]) -> int:
    """Run ``adafocus data make|check|index|extract``."""
    parser = CommandParser(prog="adafocus data", description="Make, check, index or extract videos and their lists.")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, (_, summary) in ACTIONS.items():
        actions.add_parser(name, help=summary, add_help=False)
    action: Callable[[Sequence[str]], int] = pkgutil.resolve_name(
        f"{__package__}.{ACTIONS[parser.parse_args(argv[:1]).action][0]}"
    )
    return action(argv[1:])


def make(argv: Sequence[str]) -> int:
    """Run ``adafocus data make NAME OUT``."""
    parser = CommandParser(prog="adafocus data make", description="Make an embedded dataset.")
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
    """Run ``adafocus list``."""
    parser = CommandParser(prog="adafocus list", description="Print the names that recipes and options can use.")
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
