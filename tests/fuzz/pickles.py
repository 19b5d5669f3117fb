"""Pickles that run code, take memory or are none."""

from __future__ import annotations

import pickle
import struct
from random import Random
from typing import Any

from fuzz.mutate_bytes import mutate_bytes
from fuzz.mutate_trees import COMMAND, OWNED, PAYLOAD

CALLS: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    ("os", "system", (COMMAND,)),
    ("posix", "system", (COMMAND,)),
    ("subprocess", "check_output", (["touch", OWNED],)),
    ("builtins", "exec", (PAYLOAD,)),
    ("builtins", "eval", (PAYLOAD,)),
    ("builtins", "open", (OWNED, "w")),
    ("builtins", "__import__", ("fuzz_canary_module",)),
    ("fuzz_canary_module", "Anything", ()),
    ("antigravity", "x", ()),
    ("importlib", "import_module", ("fuzz_canary_module",)),
    ("runpy", "run_path", ("x.py",)),
    ("pathlib", "Path.touch", (OWNED,)),
    ("torch.hub", "load", ("x/y", "z")),
    ("torch", "load", ("x.pth",)),
    ("torch.serialization", "load", ("x.pth",)),
    ("torch.jit", "load", ("x.pt",)),
    ("numpy", "load", ("x.npy",)),
    ("numpy.core.multiarray", "scalar", (3, b"x")),
    ("numpy", "dtype", ("O",)),
    ("_codecs", "encode", ("x" * 10, "rot13")),
    ("_codecs", "encode", ("x", "fuzz_canary_module")),
    ("_codecs", "decode", (b"x", "zip")),
    ("torch._utils", "_rebuild_tensor_v2", (None, 0, (10**6, 10**6), (0, 0), False, None)),
    ("torch", "Tensor", (3,)),
    ("collections", "OrderedDict", ()),
    ("adafocus_rl.registry", "Registry", ("x", "y")),
    ("webbrowser", "open", ("http://127.0.0.1/",)),
)
"""(module, name, arguments): what to call on loading."""


def _calls(module: str, name: str, arguments: tuple[Any, ...], protocol: int) -> bytes:
    """A pickle that calls ``module.name(*arguments)``, written by hand so that nothing has to exist here."""
    inner = pickle.dumps(arguments, protocol=2)[2:-1]
    if protocol >= 4:
        found = b"".join(
            pickle.SHORT_BINUNICODE + struct.pack("<B", len(text)) + text.encode() for text in (module, name)
        )
        return pickle.PROTO + bytes([protocol]) + found + pickle.STACK_GLOBAL + inner + pickle.REDUCE + pickle.STOP
    return pickle.PROTO + b"\2" + f"c{module}\n{name}\n".encode() + inner + pickle.REDUCE + pickle.STOP


def hostile_pickle(rng: Random) -> bytes:
    """One of them."""
    kind = rng.random()
    module, name, arguments = rng.choice(CALLS)
    content = _calls(module, name, arguments, rng.choice((2, 2, 4)))
    if kind < 0.6:
        return content
    if kind < 0.75:
        # The call hides in a value of a dict.
        call = content[2:-1]
        return b"\x80\x02}" + b"X\x05\x00\x00\x00focus" + call + b"s."
    if kind < 0.85:
        return mutate_bytes(rng, content)
    return rng.choice((
        b"", b".", b"\x80\x05N.", b"\x80\x02" + b"(" * 100000 + b".", b"\x80\x02" + b"]" * 100000 + b"a" * 99999 + b".",
        b"\x80\x02X\xff\xff\xff\x7f", b"\x80\x04\x95" + b"\xff" * 8, b"\x80\x02I" + b"9" * 10000 + b"\n.",
        b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".", b"\x80\x02r\xff\xff\xff\x7f.", b"\x80\x02Nr\xff\xff\xff\x0f.",
        pickle.dumps({"a": 1}), pickle.dumps([[]] * 10), b"PK\x03\x04" + b"\0" * 100, b"ustar" * 200,
    ))  # fmt: skip
