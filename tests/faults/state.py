"""What lies in a folder, as values that two runs must have in common to the last bit."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

State = Mapping[str, Any]

TIMES = frozenset({"ms_per_video", "ms_q1", "ms_q3", "decode_ms", "seconds", "time/fps", "times", "ms", "checksum"})
"""Entries that hold what took another time each time, and the checksum of the file that holds them."""

CELL = re.compile(r'<td data-sort="([^"]+)"[^>]*>[^<]*</td>')
"""A cell of a page's table."""

DECODING = re.compile(r"it took [\d.]+ ms per clip")
"""The part of a page's notes that has a time."""

BINARY = (".safetensors", ".npy", ".mp4", ".jpg", ".png", ".onnx")
IGNORED = ("tensorboard", "command.txt", "log.txt", ".lock")
"""Names of what is not compared: curves for the eye with times in their names, and what tells how a run was made."""


LEFT = re.compile(r"\.\w+\.partial-\w+")
"""Folders that a killed `data make` leaves beside its own: another process may be writing into one."""

TIMED = ("systems.csv", "systems.md", "systems_ms.png", "leaderboard.html")
"""Files of a sweep that show times everywhere; ``systems.json`` has the same numbers."""


def state_of(folder: Path) -> dict[str, Any]:
    """The content of every file below a folder, by its path; files that are left over count, too."""
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if not any(part in IGNORED or LEFT.fullmatch(part) for part in path.relative_to(folder).parts)
    ]
    times: set[str] = set()
    for path in paths:
        if path.suffix == ".json":
            with contextlib.suppress(ValueError):
                times.update(_times(json.loads(path.read_bytes())))
    found = {}
    for path in paths:
        name = path.relative_to(folder).as_posix()
        try:
            found[name] = None if path.is_dir() else _content(path, folder, times)
        except (ValueError, LookupError):
            found[name] = f"damaged, {_digest(path.read_bytes())}"
    return found


def differences(found: State, expected: State) -> list[str]:
    """What is missing, too much, or different, one line for each file."""
    lines = [f"{name} is missing" for name in expected if name not in found]
    lines += [f"{name} is left over" for name in found if name not in expected]
    for name, value in expected.items():
        if name in found and found[name] != value:
            lines.append(f"{name} differs{_where(found[name], value)}")
    return lines


def _content(path: Path, folder: Path, times: set[str]) -> Any:
    if path.name in TIMED:
        return "there"
    data = path.read_bytes()
    if path.suffix not in BINARY:
        data = data.replace(os.fsencode(folder), b"HERE")
    if path.suffix == ".safetensors":
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        (text,) = [value for name, value in header.pop("__metadata__").items() if name.endswith("manifest")]
        return [_timeless(json.loads(text)), header, _digest(data[8 + length :])]
    if path.suffix == ".json":
        return _timeless(json.loads(data))
    if path.suffix == ".jsonl":
        return [_timeless(json.loads(line)) for line in data.decode().splitlines()]
    if path.suffix == ".html":
        cells = CELL.sub(lambda cell: "a time" if cell[1] in times else cell[0], data.decode())
        return DECODING.sub("it took a time", cells)
    return _digest(data) if path.suffix in BINARY else data.decode()


def _times(value: Any) -> Iterator[str]:
    """All numbers under names of times."""
    if isinstance(value, list):
        for one in value:
            yield from _times(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            if name in TIMES and isinstance(one, float):
                yield repr(one)
            yield from _times(one)


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: (sorted(one) if isinstance(one, dict) else "a time") if name in TIMES else _timeless(one)
            for name, one in value.items()
        }
    return [_timeless(one) for one in value] if isinstance(value, list) else value


def _digest(data: bytes) -> str:
    return f"{len(data)} bytes {hashlib.sha256(data).hexdigest()[:16]}"


def _where(found: Any, expected: Any, at: str = "") -> str:
    """The first place at which two values differ."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in {**expected, **found}:
            if found.get(name) != expected.get(name):
                return _where(found.get(name), expected.get(name), f"{at}.{name}")
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            if one != other:
                return _where(one, other, f"{at}[{number}]")
    return f" at {at or 'its content'}: {found!r:.80} instead of {expected!r:.80}"
