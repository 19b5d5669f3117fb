"""What all commands share: a parser whose errors are sentences, and JSON on stdout."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, NoReturn

from adafocus_rl.errors import UserError


class CommandParser(argparse.ArgumentParser):
    """``argparse`` without abbreviations, and with :class:`UserError` instead of a printed usage."""

    def __init__(self, *, prog: str, description: str | None = None, add_help: bool = True) -> None:
        super().__init__(prog=prog, description=description, add_help=add_help, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Turns ``argparse``'s complaint into ours.

        Raises:
            UserError: always.
        """
        raise UserError(f"{message}; `{self.prog} --help` shows what there is")


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    json.dump(document, sys.stdout, indent=1)
    sys.stdout.write("\n")


def one_line(text: str) -> str:
    """The text with line breaks as spaces."""
    return " ".join(text.split())
