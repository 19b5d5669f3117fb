"""What all commands share: a parser whose errors are sentences, and text and JSON on stdout."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.terminal.streams import spelled
from adafocus_rl.printable import LIMIT, printable
from adafocus_rl.yaml_text import dump_yaml


class CommandParser(argparse.ArgumentParser):
    """``argparse`` without abbreviations, and with ``UserError`` instead of a printed usage."""

    def __init__(self, *, prog: str, description: str | None = None, add_help: bool = True) -> None:
        super().__init__(prog=prog, description=description, add_help=add_help, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Turn ``argparse``'s complaint into ours.

        Raises:
            UserError: always.
        """
        raise UserError(f"{message}; `{self.prog} --help` shows what there is")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As ``argparse``'s; besides, a value is not empty: ``--out=$DIR`` of an unset variable means no folder.

        Raises:
            UserError: a mistake.
        """
        found, rest = super().parse_known_args(args, namespace)
        for action in self._actions:
            value = getattr(found, action.dest, None)
            # Older Pythons take `--top=--` for an option without a value.
            nothing = value == [] and action.nargs != "*"
            if nothing or value == "" or (isinstance(value, list) and "" in value):
                name = action.option_strings[-1] if action.option_strings else action.metavar or action.dest
                raise UserError(f"{name} is empty; give a value, or leave it out")
        return found, rest


def print_json(document: Any) -> None:
    """One JSON document on stdout, in ASCII, whatever the terminal's encoding."""
    sys.stdout.write(json.dumps(document, indent=1) + "\n")


def print_yaml(values: Mapping[str, Any]) -> None:
    """A YAML document on stdout: in ASCII if the terminal lacks a letter of it, or something in it is hidden.

    Escaped by YAML itself, so that what is printed can be read back.
    """
    text = dump_yaml(values)
    shown = "\n".join(printable(line, None) for line in text.split("\n"))
    if spelled(shown, sys.stdout.encoding) != text:
        text = dump_yaml(values, in_ascii=True)
    sys.stdout.write(text)


def print_lines(*lines: str, limit: int | None = LIMIT) -> None:
    """Lines on stdout, each made fit for a terminal; see ``printable``."""
    sys.stdout.writelines(f"{printable(line, limit)}\n" for line in lines)


def one_line(text: str) -> str:
    """The text with line breaks, and blanks around them, as single spaces."""
    return " ".join(filter(None, map(str.strip, text.split("\n"))))


def command_text(*words: str) -> str:
    """The command as it is noted in files: one line of UTF-8, whatever its words hold."""
    return printable(shlex.join(words), None)


def sentence(text: str) -> None:
    """One sentence of ours on stderr: what is wrong, and what to do."""
    sys.stderr.write(f"adafocus: {printable(one_line(text))}\n")


def at_most(limit: int) -> Callable[[str], int]:
    """A type of whole numbers for ``add_argument``: more is a slip of the keyboard, or more than any machine has."""

    def whole(text: str) -> int:
        value = int(text)
        if value > limit:
            raise argparse.ArgumentTypeError(f"{value} is too large, give at most {limit}")
        return value

    whole.__name__ = "int"  # as argparse names a type in its messages
    return whole
