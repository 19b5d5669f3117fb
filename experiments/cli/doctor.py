"""``adafocus doctor``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from adafocus_rl.experiments.terminal.command_line import CommandParser, print_json, print_lines

BROKEN = 1
"""Exit code if something that is required does not work."""

WIDTH = 80
INDENT = 12


def doctor(argv: Sequence[str]) -> int:
    """Run ``adafocus doctor``."""
    parser = CommandParser(
        prog="adafocus doctor",
        description="Check the installation: versions, devices, decoding, threads, folders, and what is missing, with "
        "the command that brings it. The exit code is 1 if something that is required does not work.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")
    options = parser.parse_args(argv)

    from adafocus_rl.experiments.doctor.examine import examine

    found = examine()
    if options.json:
        print_json(found)
    else:
        print_lines(*_lines(found))
    return 0 if found["ok"] else BROKEN


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the findings as lines of at most ``WIDTH`` columns; a long path or command may exceed it."""
    own, python = found["adafocus_rl"], found["python"]
    yield from _topic("adafocus_rl", [f"{own['version']}, in {own['folder']}"])
    yield from _topic("python", [f"{python['version']}, {python['platform']}"])
    yield from _topic(
        "packages", [", ".join(f"{name} {version or '–'}" for name, version in found["packages"].items())]
    )
    if "devices" in found:
        yield from _topic("devices", _devices(found["devices"]))
        yield from _topic("decoding", _decoding(found))
        variables = [f"{name}={value}" for name, value in found["threads"]["variables"].items()]
        yield from _topic("threads", [", ".join([f"torch {found['threads']['torch']}", *variables])])
        variables = [f"{name}={value}" for name, value in found["allocator"]["variables"].items()]
        yield from _topic("allocator", [", ".join([found["allocator"]["name"], *variables])])
        yield from _topic("folders", [_folder(name, state) for name, state in found["folders"].items()])
    for heading, entries in (("optional", found["missing"]), ("notes", found["notes"]), ("broken", found["faults"])):
        if entries:
            yield ""
            yield f"{heading}:"
        for entry in entries:
            what = entry.get("what") or f"{entry['name']} is missing, for {entry['purpose']}"
            yield from textwrap.wrap(what, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
            yield f"    {entry['command']}"
    yield ""
    yield "Everything that is required works." if found["ok"] else "Something that is required does not work."


def _topic(name: str, texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        yield from textwrap.wrap(
            text,
            WIDTH,
            initial_indent=f"{'' if number else name:{INDENT}}",
            subsequent_indent=" " * INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )


def _devices(machine: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"{machine['processor']}, {machine['cores']} cores ({machine['cpu_capability']}), "
        f"{_size(machine['free_memory'])} of memory free"
    )
    for gpu in machine["cuda"]:
        size, build = _size(gpu["memory"]), machine["cuda_build"]
        yield f"{gpu['name']}, {size}, compute capability {gpu['capability']}, CUDA {build}"
    if machine["mps"]:
        yield "Apple GPU (--device=mps)"
    if not machine["cuda"] and not machine["mps"]:
        yield "no GPU that torch can use"


def _decoding(found: Mapping[str, Any]) -> Iterator[str]:
    names = {
        "video": "a clip of 16 frames, H.264, by PyAV",
        "film": "a film written and read",
        "images": "frame images, by OpenCV",
    }
    for name, state in found["decoding"].items():
        result = f"{state['ms']:.1f} ms" if state["works"] else "does not work"
        yield f"{names[name]}: {result}"
    yield f"codecs: {', '.join(found['codecs']) or 'none'}"


def _folder(name: str, state: Mapping[str, Any]) -> str:
    can = "can be written" if state["writable"] else "cannot be written"
    return f"{name}: {state['path']}, {can}, {_size(state['free'])} free"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
