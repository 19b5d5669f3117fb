"""Faults made on purpose: what finds them can find others. They have no weight, so no run meets them by itself."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from fuzz.cases import Case, reader
from fuzz.corpus import SECRET, Corpus
from fuzz.mutate_trees import COMMAND, OWNED


def _traceback(folder: Path, corpus: Corpus) -> object:
    raise KeyError("planted")


def _hang(folder: Path, corpus: Corpus) -> object:
    time.sleep(3600)
    return None


def _memory(folder: Path, corpus: Corpus) -> object:
    kept = bytearray(600 << 20)
    kept[::4096] = b"x" * len(kept[::4096])
    time.sleep(1)
    return None


def _crash(folder: Path, corpus: Corpus) -> object:
    os.abort()


def _command(folder: Path, corpus: Corpus) -> object:
    os.system(COMMAND)
    return None


def _import(folder: Path, corpus: Corpus) -> object:
    __import__("fuzz_canary_module")
    return None


def _evaluated(folder: Path, corpus: Corpus) -> object:
    return eval((folder / "input.txt").read_text())  # noqa: S307


def _connection(folder: Path, corpus: Corpus) -> object:
    import ctypes
    import struct

    # As C libraries do it, past Python.
    libc = ctypes.CDLL(None)
    handle = libc.socket(2, 1, 0)
    address = struct.pack("=H", 2) + struct.pack("!H4s8x", int(os.environ["FUZZ_PORT"]), bytes((127, 0, 0, 1)))
    libc.connect(handle, address, len(address))
    return None


def _outside(folder: Path, corpus: Corpus) -> object:
    import av

    av.open(str(corpus.outside / "secret.mp4")).close()
    return None


def _written(folder: Path, corpus: Corpus) -> object:
    (corpus.path / "planted.txt").write_text("x")
    return None


def _secret(folder: Path, corpus: Corpus) -> object:
    sys.stdout.write(SECRET)
    return None


def _two_lines(folder: Path, corpus: Corpus) -> object:
    sys.stderr.write("adafocus: x\nand more\n")
    return 2


def _escape(folder: Path, corpus: Corpus) -> object:
    sys.stderr.write("adafocus: \x1b[31mx\n")
    return 2


def _nameless(folder: Path, corpus: Corpus) -> object:
    sys.stderr.write("adafocus: something is wrong\n")
    return 2


def _accepted(folder: Path, corpus: Corpus) -> object:
    return None


def _fine(folder: Path, corpus: Corpus) -> object:
    return 0


def _sentence(folder: Path, corpus: Corpus) -> object:
    sys.stderr.write("adafocus: input.txt is wrong\n")
    return 2


PLANTED: dict[str, tuple[Callable[[Path, Corpus], object], str]] = {
    "traceback": (_traceback, "traceback"), "hang": (_hang, "hang"), "memory": (_memory, "memory"),
    "crash": (_crash, "crash"), "command": (_command, "code"), "import": (_import, "code"),
    "evaluated": (_evaluated, "code"), "connection": (_connection, "code"), "outside": (_outside, "code"),
    "written": (_written, "code"), "secret": (_secret, "code"), "two-lines": (_two_lines, "unclear"),
    "escape": (_escape, "unclear"), "nameless": (_nameless, "unclear"), "accepted": (_accepted, "accepted"),
    "fine": (_fine, "fine"), "sentence": (_sentence, "sentence"),
}  # fmt: skip
"""By name: what happens, and how the case has to end."""


def _announce(name: str, act: Callable[[Path, Corpus], object]) -> None:
    @reader(f"planted.{name}", weight=0)
    def build(rng: Random, corpus: Corpus, folder: Path) -> Case:
        (folder / "input.txt").write_text(f"None if {OWNED!r} else print\n")
        return Case(call=lambda: act(folder, corpus), names=("input.txt",), refuse=name == "accepted")


for _name, (_act, _) in PLANTED.items():
    _announce(_name, _act)
