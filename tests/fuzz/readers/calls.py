"""The product called as a user calls it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

Arguments = list[str | Path]
"""Of a command."""


def one_of(rng: Random, *choices: Arguments) -> Arguments:
    """One of several command lines."""
    return rng.choice(choices)


def command(*arguments: str | Path) -> Callable[[], int]:
    """``adafocus ARGUMENTS…`` in this process; what it returns is the exit code."""

    def call() -> int:
        from adafocus_rl.experiments.cli.entry import main

        code: int = main([os.fspath(argument) for argument in arguments])
        return code

    return call
