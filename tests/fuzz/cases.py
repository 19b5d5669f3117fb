"""What a case is, and how it may end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from fuzz.corpus import Corpus

End = Literal["fine", "sentence", "traceback", "hang", "crash", "memory", "code", "unclear", "accepted"]
"""How a case ends: the first two are as it should be.

fine: a result; sentence: one sentence for the user; traceback: any other exception; hang: longer than the limit;
crash: the process died; memory: more than the limit; code: something in the input was run, imported, fetched, or
touched what lies outside the case's folder; unclear: a sentence of several lines, of endless length, with control
characters, or that names neither file nor key; accepted: a result for what must be refused.
"""

FAULTS: tuple[End, ...] = ("traceback", "hang", "crash", "memory", "code", "unclear", "accepted")
"""Ends that fail the suite."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One hostile input, ready to be read."""

    call: Callable[[], object]
    """Reads it as the product does; the number that a command returns is its exit code."""
    names: tuple[str, ...] = ()
    """A sentence has to name one of these: the file, the key, the value; empty where nothing has a name."""
    refuse: bool = False
    """Whether a result is wrong: a playlist is no video, whatever it names."""


Build = Callable[[Random, Corpus, Path], Case]
"""Makes a case of a reader from random choices, valid material, and an empty folder, which is the working directory."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One row of the table."""

    name: str
    build: Build
    weight: int
    """Its share of all cases."""


READERS: dict[str, Reader] = {}
"""By name, in the order of the table."""


def reader(name: str, *, weight: int) -> Callable[[Build], Build]:
    """Announces a function as a reader; a weight of 0 keeps it out of a run that does not name it."""

    def announce(build: Build) -> Build:
        READERS[name] = Reader(name=name, build=build, weight=weight)
        return build

    return announce


def make_case(name: str, seed: int, number: int, corpus: Corpus, folder: Path) -> Case:
    """Case ``number`` of a reader; the same for the same seed, wherever and after whatever it is made."""
    return READERS[name].build(Random(f"{seed}:{name}:{number}"), corpus, folder)


def case_folder(name: str, number: int) -> str:
    """Name of the folder that a case has to itself."""
    return f"{name}-{number}"


def shares(total: int, names: Iterable[str]) -> Mapping[str, int]:
    """How many of ``total`` cases each reader gets: by weight, at least one."""
    chosen = [READERS[name] for name in names]
    weights = sum(max(one.weight, 1) for one in chosen)
    return {one.name: max(1, round(total * max(one.weight, 1) / weights)) for one in chosen}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one case ended."""

    reader: str
    number: int
    end: End
    said: str = ""
    """The sentence, the traceback, or what was run."""
    seconds: float = 0.0
    peak_mb: float = 0.0
    """Largest resident memory of the process and of any child, in MB."""
