"""Helpers shared by all commands: an argument parser that raises ``UserError``, and text and JSON on stdout."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.terminal.streams import spelled
from adafocus_rl.printable import LIMIT, printable
from adafocus_rl.yaml_text import dump_yaml


class CommandParser(argparse.ArgumentParser):
    """``argparse`` parser without abbreviated options, which raises ``UserError`` instead of printing its usage."""

    def __init__(self, *, prog: str, description: str | None = None, add_help: bool = True) -> None:
        super().__init__(prog=prog, description=description, add_help=add_help, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise an ``argparse`` error as a ``UserError``.

        Raises:
            UserError: always.
        """
        raise UserError(f"{message}; `{self.prog} --help` shows what there is")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse as ``argparse`` does, but refuse empty values, such as ``--out=$DIR`` with an unset variable.

        Raises:
            UserError: if an argument is invalid or empty.
        """
        found, rest = super().parse_known_args(args, namespace)
        for action in self._actions:
            value = getattr(found, action.dest, None)
            # Older Python versions parse `--top=--` as an option without a value.
            nothing = value == [] and action.nargs != "*"
            if nothing or value == "" or (isinstance(value, list) and "" in value):
                name = action.option_strings[-1] if action.option_strings else action.metavar or action.dest
                raise UserError(f"{name} is empty; give a value, or leave it out")
        return found, rest


def print_json(document: Any) -> None:
    """Print a JSON document to stdout, in ASCII whatever the terminal's encoding."""
    sys.stdout.write(json.dumps(document, indent=1) + "\n")


def print_json_line(document: Any) -> None:
    """Print a JSON document as one line on stdout, for output that goes on."""
    sys.stdout.write(json.dumps(document) + "\n")


def print_yaml(values: Mapping[str, Any]) -> None:
    """Print a YAML document to stdout.

    If the terminal's encoding lacks a character, or one is unprintable, the document is written in ASCII with YAML's
    own escapes, so that the output can still be parsed.
    """
    text = dump_yaml(values)
    shown = "\n".join(printable(line, None) for line in text.split("\n"))
    if spelled(shown, sys.stdout.encoding) != text:
        text = dump_yaml(values, in_ascii=True)
    sys.stdout.write(text)


def print_lines(*lines: str, limit: int | None = LIMIT) -> None:
    """Print lines to stdout, each passed through ``printable``."""
    sys.stdout.writelines(f"{printable(line, limit)}\n" for line in lines)


def one_line(text: str) -> str:
    """Return the text on one line: each line break, with the whitespace around it, becomes a single space."""
    return " ".join(filter(None, map(str.strip, text.split("\n"))))


def command_text(*words: str) -> str:
    """Return a command as files record it: shell-quoted, on one line, unprintable characters escaped."""
    return printable(shlex.join(words), None)


def sentence(text: str) -> None:
    """Print a message to stderr on one line: what is wrong, and what to do."""
    sys.stderr.write(f"adafocus: {printable(one_line(text))}\n")


def how_to_go_on(arguments: Sequence[str]) -> str:
    """Return the end of a message that says how an interrupted command goes on; empty if it has to start again.

    Args:
        arguments: the command and its arguments.
    """
    if arguments[:1] == ["train"]:
        instead = " in the place of --overwrite" if "--overwrite" in arguments else ""
        return f"; the same command with --resume{instead} goes on"
    resumable = (["compare"], ["tune"], ["features", "build"], ["data", "extract"])
    again = any(list(arguments[: len(command)]) == command for command in resumable)
    return "; the same command goes on" if again else ""


def at_most(limit: int) -> Callable[[str], int]:
    """Return an ``add_argument`` type for integers up to ``limit``; a larger one is a typing error."""

    def whole(text: str) -> int:
        value = int(text)
        if value > limit:
            raise argparse.ArgumentTypeError(f"{value} is too large, give at most {limit}")
        return value

    whole.__name__ = "int"  # argparse prints this name in its messages
    return whole
