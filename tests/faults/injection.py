"""Faults from inside a process: every change of a file is counted, and at a chosen one something happens.

Python's own functions that change files are replaced, in this process alone. Points are numbered from 0 in the order in
which they come; so are steps of computation (calls of a torch module), in a count of their own.
"""

from __future__ import annotations

import builtins
import errno
import io
import itertools
import json
import os
import pathlib
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from faults.places import where

Action = Literal["kill", "term", "full", "readonly", "pause", "past", "future"]
When = Literal["before", "half", "after"]

ERRORS = {"full": errno.ENOSPC, "readonly": errno.EROFS}
BLOCKED = {
    "full": {"create", "write", "mkdir"},
    "readonly": {"create", "overwrite", "append", "write", "mkdir", "replace", "unlink", "rmdir", "link", "truncate"},
}
"""Kinds of changes that fail from the chosen point on; the chosen one itself fails, whatever its kind."""

JUMP = 366 * 86400.0 + 12345.0
"""Seconds by which the clock jumps."""

EVERY = 20
"""Steps of computation between two that are written to the trace."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What happens in a process."""

    root: str
    """Changes below this folder count."""
    trace: str
    """File to which each change is appended as a line of JSON."""
    at: int | None = None
    """Number of the point at which something happens; None for nowhere."""
    compute: bool = False
    """Whether the number is that of a step of computation."""
    when: When = "before"
    action: Action = "kill"
    snapshots: str | None = None
    """Folder for the content of flushed files, for power cuts; None keeps none."""
    planted: str | None = None
    """Name of a deliberate fault of the product (`faults.planted`)."""


class Injector:
    """Counts points, and acts at the chosen one.

    Args:
        plan: the plan.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.root = os.path.realpath(plan.root) + os.sep
        self.owner = os.getpid()
        self.points, self.steps, self._snapshots = itertools.count(), itertools.count(), itertools.count()
        self.failing = False
        self.paths: dict[int, str] = {}
        self._trace = os.open(plan.trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._clock = 0.0
        self._original: dict[str, Any] = {}

    # ---- points -------------------------------------------------------------------------------------------------

    def inside(self, path: str) -> bool:
        """Whether changes of this path count here: forked workers are not watched."""
        return os.getpid() == self.owner and f"{path}{os.sep}".startswith(self.root)

    def point(
        self, kind: str, path: str, do: Callable[[], Any], *, half: Callable[[], Any] | None = None, **facts: Any
    ) -> Any:
        """Makes a change, unless something comes between."""
        number = next(self.points)
        hit = not self.plan.compute and number == self.plan.at
        if hit and (self.plan.when == "before" or (self.plan.when == "half" and half is None)):
            self._act(kind, path)
        elif hit and self.plan.when == "half" and half is not None:
            half()
            self._note(number, kind, path, facts)
            self._act(kind, path)
        if self.plan.action in ERRORS and (hit or (self.failing and kind in BLOCKED[self.plan.action])):
            code = ERRORS[self.plan.action]
            raise OSError(code, os.strerror(code), *([] if kind in ("write", "fsync", "truncate") else [path]))
        result = do()
        self._note(number, kind, path, facts)
        if hit and self.plan.when == "after":
            self._act(kind, path)
        return result

    def step(self, *_: Any) -> None:
        """A step of computation."""
        if os.getpid() != self.owner:
            return
        number = next(self.steps)
        if self.plan.compute and number == self.plan.at:
            self._act("compute", self.root)
        if number % EVERY == 0:
            self._note(number, "compute", self.root, {})

    def _act(self, kind: str, path: str) -> None:
        action = self.plan.action
        self._note(-1, "hit", path, {"of": kind, "action": action, "when": self.plan.when})
        self.failing = True
        if action in ("kill", "term"):
            os.kill(self.owner, signal.SIGKILL if action == "kill" else signal.SIGTERM)
        elif action == "pause":
            flag = Path(self.plan.trace + ".paused")
            flag.touch()
            while flag.exists():
                time.sleep(0.02)
        elif action in ("past", "future"):
            self._clock += JUMP if action == "future" else -JUMP

    def _note(self, number: int, kind: str, path: str, facts: dict[str, Any]) -> None:
        stage, place = where()
        if kind == "fsync" and self.plan.snapshots is not None:
            facts = {**facts, **self._snapshot(path)}
        line = {
            "number": number, "kind": kind, "path": os.path.relpath(path, self.root), "stage": stage, "place": place,
            **facts,
        }  # fmt: skip
        os.write(self._trace, json.dumps(line).encode() + b"\n")

    def _snapshot(self, path: str) -> dict[str, Any]:
        if not Path(path).is_file():
            return {}
        name = str(next(self._snapshots))
        with self._original["open"](Path(str(self.plan.snapshots), name), "wb") as copy:
            copy.write(Path(path).read_bytes())
        return {"snapshot": name}

    # ---- what is replaced ---------------------------------------------------------------------------------------

    def install(self) -> None:
        """Replaces the functions of this process that change files, and its clock."""
        self._original["open"] = io.open
        builtins.open = io.open = self._open
        shutil._USE_CP_SENDFILE = False  # type: ignore[attr-defined]  # it copies without a write
        os.fsync = self._fsync(os.fsync)
        os.open = self._os_open(os.open)
        for name, kind in (("unlink", "unlink"), ("remove", "unlink"), ("rmdir", "rmdir"), ("mkdir", "mkdir")):
            setattr(os, name, self._of_one(getattr(os, name), kind))
        for name, kind in (("replace", "replace"), ("rename", "replace"), ("link", "link")):
            setattr(os, name, self._of_two(getattr(os, name), kind))
        # Until Python 3.10, paths keep functions of their own.
        accessor = getattr(pathlib, "_NormalAccessor", None)
        for name in ("open", "unlink", "rmdir", "mkdir", "replace", "rename", "link"):
            if hasattr(accessor, name):
                setattr(accessor, name, staticmethod(io.open if name == "open" else getattr(os, name)))
        if self.plan.action in ("past", "future"):
            self._own_clock()
        if sys.modules.get("torch"):
            from torch.nn.modules.module import register_module_forward_pre_hook

            register_module_forward_pre_hook(self.step)

    def _open(
        self, file: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None,
        errors: str | None = None, newline: str | None = None, closefd: bool = True, opener: Any = None,
    ) -> Any:  # fmt: skip
        writes = not isinstance(file, int) and opener is None and {*"wax+"} & {*mode}
        path = self._full(file) if writes else ""
        if not writes or not self.inside(path):
            opened = self._original["open"](file, mode, buffering, encoding, errors, newline, closefd, opener)
            if not isinstance(file, int):
                self.paths[opened.fileno()] = self._full(file)
            return opened
        kind = ("overwrite" if "w" in mode else "append") if Path(path).exists() else "create"
        plain = mode.replace("b", "").replace("t", "")
        raw = self.point(kind, path, lambda: _File(path, plain, self))
        if buffering == 0:
            return raw
        binary = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return binary
        return io.TextIOWrapper(binary, encoding, errors, newline, line_buffering=buffering == 1)

    def _fsync(self, original: Callable[[Any], None]) -> Callable[[Any], None]:
        def fsync(file: Any) -> None:
            handle = file if isinstance(file, int) else file.fileno()
            path = self.paths.get(handle, "")
            if not self.inside(path):
                return original(handle)
            return self.point("fsync", path, lambda: original(handle))

        return fsync

    def _os_open(self, original: Callable[..., int]) -> Callable[..., int]:
        def os_open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            handle = original(path, flags, mode, dir_fd=dir_fd)
            self.paths[handle] = self._full(path, dir_fd)
            return handle

        return os_open

    def _of_one(self, original: Callable[..., None], kind: str) -> Callable[..., None]:
        def change(path: Any, *arguments: Any, dir_fd: int | None = None) -> None:
            full = self._full(path, dir_fd)

            def do() -> None:
                original(path, *arguments, dir_fd=dir_fd)

            return self.point(kind, full, do) if self.inside(full) else do()

        # `shutil` and `os` look these functions up in sets of those that take a descriptor.
        for known in (os.supports_dir_fd, os.supports_follow_symlinks):
            if original in known:
                known.add(change)
        return change

    def _of_two(self, original: Callable[..., None], kind: str) -> Callable[..., None]:
        def change(source: Any, target: Any, **options: Any) -> None:
            full = self._full(target)

            def do() -> None:
                original(source, target, **options)

            return self.point(kind, full, do, source=self._relative(source)) if self.inside(full) else do()

        return change

    def _own_clock(self) -> None:
        now, local, text = time.time, time.localtime, time.strftime
        time.time = lambda: now() + self._clock
        time.time_ns = lambda: int((now() + self._clock) * 1e9)
        time.localtime = lambda seconds=None: local(time.time() if seconds is None else seconds)  # type: ignore
        time.strftime = lambda form, at=None: text(form, time.localtime() if at is None else at)  # type: ignore

    def _full(self, path: Any, dir_fd: int | None = None) -> str:
        text = os.fsdecode(path) if not isinstance(path, int) else self.paths.get(path, "")
        if dir_fd is not None:
            text = f"{self.paths.get(dir_fd, '')}{os.sep}{text}"
        # The last part is not followed: what is changed is the link, not its target.
        path = Path(text)
        return str(path.parent.resolve() / path.name)

    def _relative(self, path: Any) -> str:
        return os.path.relpath(self._full(path), self.root)


class _File(io.FileIO):
    def __init__(self, path: str, mode: str, injector: Injector) -> None:
        super().__init__(path, mode)
        self._path, self._injector = path, injector
        injector.paths[self.fileno()] = path

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        write = super().write
        size: int = self._injector.point(
            "write", self._path, lambda: write(view), half=lambda: write(view[: len(view) // 2]), size=len(view)
        )
        return size

    def truncate(self, size: int | None = None) -> int:
        truncate = super().truncate
        return int(self._injector.point("truncate", self._path, lambda: truncate(size)))
