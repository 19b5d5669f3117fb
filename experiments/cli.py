"""``adafocus``: the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from adafocus_rl import __version__
from adafocus_rl.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; a user's mistake is one sentence on stderr and exit code 2."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="adafocus", description="Adaptive patch selection for video recognition: train, evaluate, look."
    )
    parser.add_argument("--version", action="version", version=f"adafocus_rl {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, summary) in COMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    chosen, rest = parser.parse_known_args(arguments[:1]), arguments[1:]
    try:
        return COMMANDS[chosen[0].command][0](rest)
    except UserError as error:
        print(f"adafocus: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("adafocus: interrupted; add --resume to the same command to go on", file=sys.stderr)
        return 130


def _train(argv: list[str]) -> int:
    from adafocus_rl.experiments.commands import train_command

    return train_command(argv)


def _evaluate(argv: list[str]) -> int:
    from adafocus_rl.experiments.commands import evaluate_command

    return evaluate_command(argv)


def _features(argv: list[str]) -> int:
    from adafocus_rl.experiments.commands import features_command

    return features_command(argv)


def _data(argv: list[str]) -> int:
    from adafocus_rl.experiments.commands import data_command

    return data_command(argv)


def _list(argv: list[str]) -> int:
    from adafocus_rl.experiments.commands import list_command

    return list_command(argv)


def _bench(argv: list[str]) -> int:
    from adafocus_rl.experiments.bench import bench_command

    return bench_command(argv)


COMMANDS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "train": (_train, "run the stages of a recipe and print the results table"),
    "evaluate": (_evaluate, "evaluate a run, or other agents on it"),
    "features": (_features, "build or check a run's feature bank"),
    "data": (_data, "make embedded data"),
    "list": (_list, "recipes, agents, encoders, datasets and rewards that can be named"),
    "bench": (_bench, "measure what the project claims to be fast, as ratios"),
}


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    json.dump(document, sys.stdout, indent=1)
    print()


def existing_file(path: str) -> Path:
    """A path that must be a file.

    Raises:
        UserError: there is none.
    """
    found = Path(path).expanduser()
    if not found.is_file():
        raise UserError(f"there is no file {path}")
    return found


if __name__ == "__main__":
    sys.exit(main())
