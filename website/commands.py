"""The reference of the command line: what each command's parser holds."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from unittest.mock import patch

from adafocus_rl.experiments.cli.data import ACTIONS
from adafocus_rl.experiments.cli.entry import COMMANDS, main
from adafocus_rl.experiments.terminal.command_line import CommandParser


class _MetError(Exception):
    """Raised in the place of printing a help text."""


def parser_of(*command: str) -> CommandParser:
    """Return the parser that prints ``adafocus COMMAND --help``, before it prints.

    Args:
        *command: the words of the command, such as ``data`` and ``check``.
    """
    found: list[CommandParser] = []

    def print_help(self: CommandParser, file: object = None) -> None:
        found.append(self)
        raise _MetError

    with patch.object(CommandParser, "print_help", print_help):
        try:
            main([*command, "--help"])
        except _MetError:
            return found[0]
    raise LookupError(f"adafocus {' '.join(command)} --help printed no help text")


def all_commands() -> list[tuple[str, ...]]:
    """Return the words of all commands; one with actions of its own is followed by these."""
    return [words for name in COMMANDS for words in [(name,), *((name, one) for one in ACTIONS if name == "data")]]


def commands() -> str:
    """Return all commands with their usage and their arguments."""
    return "\n".join(_command(words) for words in all_commands())


def _command(words: tuple[str, ...]) -> str:
    parser = parser_of(*words)
    name = "adafocus " + " ".join(words)
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    about = parser.description or COMMANDS[words[0]][1].capitalize() + "."
    level = "##" if len(words) == 1 else "###"
    arguments = "".join(f"{term}\n:   {text}\n\n" for term, text in _arguments(parser))
    return f"{level} `{name}`\n\n{about}\n\n```console\n{usage}\n```\n\n{arguments}"


def _arguments(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                yield f"`{choice.dest}`", choice.help or ""
            continue
        formatter = parser._get_formatter()
        shown = formatter._format_args(action, formatter._get_default_metavar_for_optional(action))
        names = ", ".join(f"`{name}`" for name in action.option_strings)
        value = f"`{shown}`" if shown else ""
        text = formatter._expand_help(action) if action.help else ""
        yield " ".join(filter(None, [names, value])), text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
