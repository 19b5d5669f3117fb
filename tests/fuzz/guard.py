"""Watches a process from inside for what no input may cause: code, imports, commands, connections, foreign files.

Python's audit hook sees what Python does, in forked children, too. What C libraries do is seen from its traces: a
listening port of ours counts connections, the kernel tells who opened the files outside.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from fuzz.corpus import SECRET
from fuzz.mutate_trees import OWNED

COMMANDS = frozenset(
    {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "subprocess.Popen", "pty.spawn"}
)
HARMLESS = (["uname", "-p"],)
"""Commands that no input has a part in: `platform` asks for the processor."""

CONNECTIONS = frozenset({"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"})
WRITES = {"os.remove": 0, "os.rename": 1, "os.mkdir": 0, "os.rmdir": 0, "os.link": 1, "os.symlink": 1, "os.truncate": 0,
          "os.chmod": 0, "os.chown": 0, "shutil.rmtree": 0}  # fmt: skip
"""Events that change files, and which argument is the path that is changed."""

HOSTILE_MODULES = frozenset({"antigravity", "this", "fuzz_canary_module"})
"""Modules that nobody imports unless a file says so."""

OUR_MODULES = frozenset({
    "adafocus_rl", "torch", "torchvision", "numpy", "cv2", "av", "safetensors", "stable_baselines3", "sb3_contrib",
    "yaml", "rich", "gymnasium", "sklearn", "scipy", "PIL", "tensorboard", "matplotlib", "jinja2",
    "pandas", "encodings",
})  # fmt: skip
"""Whoever names one of their modules in a file says nothing that is not imported anyway."""

_IN_CREATE_OPEN, _IN_NONBLOCK = 0x20, 0o4000


class ForbiddenError(OSError):
    """Raised in place of what was about to happen."""


class Guard:
    """One for a process; :meth:`watch` for each case.

    Args:
        outside: folder of files that no case may open.
    """

    def __init__(self, outside: Path) -> None:
        self.outside = outside
        self._folder: Path | None = None
        self._text = ""
        self._words: frozenset[str] = frozenset()
        # A file, not a list: forked children report, too.
        self._reports, name = tempfile.mkstemp(prefix="fuzz_guard")
        Path(name).unlink()
        self._port = socket.create_server(("127.0.0.1", 0))
        self._port.setblocking(False)
        self._opened = _Inotify(outside)
        sys.addaudithook(self._hook)

    @property
    def port(self) -> int:
        """Where a connection would be noticed."""
        return int(self._port.getsockname()[1])

    @contextmanager
    def watch(self, folder: Path) -> Iterator[list[str]]:
        """Watches while a case runs; at the end the list holds what happened that must not.

        Args:
            folder: where the case writes, and the folder above it; what its files hold is what must not be run.
        """
        inputs = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size < 1 << 20]
        self._text = "\n".join(path.read_bytes().decode("latin-1") for path in inputs)
        self._words = frozenset(re.findall(r"[A-Za-z_]\w*", self._text))
        os.ftruncate(self._reports, 0)
        os.lseek(self._reports, 0, os.SEEK_SET)
        self._connections()
        self._opened.events()
        happened: list[str] = []
        self._folder = folder
        try:
            yield happened
        finally:
            self._folder = None
            os.lseek(self._reports, 0, os.SEEK_SET)
            size = os.fstat(self._reports).st_size
            happened += [json.loads(line) for line in os.read(self._reports, size).decode().splitlines()]
            happened += [f"connected to port {self.port}"] * self._connections()
            happened += [f"opened {self.outside / name}" for name in self._opened.events()]
            if (folder / OWNED).exists():
                happened.append(f"wrote {OWNED}")

    def _connections(self) -> int:
        count = 0
        with suppress(BlockingIOError):
            while True:
                self._port.accept()[0].close()
                count += 1
        return count

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._folder is None:
            return
        what = self._forbidden(event, arguments)
        if what:
            os.write(self._reports, json.dumps(what[:500]).encode() + b"\n")
            raise ForbiddenError(1, "the fuzz suite's guard forbids it", what[:200])

    def _forbidden(self, event: str, arguments: tuple[Any, ...]) -> str | None:
        if event in COMMANDS:
            given = arguments[1] if event == "subprocess.Popen" else arguments
            return None if given in HARMLESS else f"{event} {given!r}"
        if event in CONNECTIONS:
            address = arguments[1] if event == "socket.connect" else arguments[0]
            return None if isinstance(address, (str, bytes)) and event == "socket.connect" else f"{event} {address!r}"
        if event == "import":
            return self._import(str(arguments[0]))
        if event == "compile":
            return self._compiled(arguments[0])
        if event == "open":
            path, mode, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            return self._outside(event, path) if writes or (isinstance(mode, str) and {*"wax+"} & {*mode}) else None
        if event in WRITES:
            return self._outside(event, arguments[WRITES[event]])
        return None

    def _import(self, name: str) -> str | None:
        top = name.split(".")[0]
        if top in HOSTILE_MODULES or (top not in OUR_MODULES and f"{name}." in self._text and top in self._words):
            return f"import of {name}"
        return None

    def _compiled(self, source: Any) -> str | None:
        text = source.decode("latin-1") if isinstance(source, (bytes, bytearray)) else source
        # Shorter ones are names, which code that is generated for dataclasses has, too.
        if not isinstance(text, str) or len(text.strip()) <= 8 or text.strip() not in self._text:
            return None
        # `ast.literal_eval`, with which NumPy reads headers, runs nothing.
        frame: FrameType | None = sys._getframe(2)
        while frame and frame.f_code.co_filename == __file__:
            frame = frame.f_back
        only_parsed = Path(frame.f_code.co_filename if frame else "").name == "ast.py"
        return None if only_parsed else f"compile of {text.strip()!r}"

    def _outside(self, event: str, path: Any) -> str | None:
        if isinstance(path, int) or path is None or self._folder is None:
            return None
        try:
            full = Path(os.path.realpath(os.fsdecode(path)))
        except (TypeError, ValueError, OSError):
            return None
        allowed = (self._folder.parent, Path("/dev"), Path("/proc/self"), Path("/proc") / str(os.getpid()))
        return None if any(full.is_relative_to(one) for one in allowed) else f"{event} of {full} for writing"


class _Inotify:
    """Which files of a folder were opened, by whatever code; knows nothing where the kernel does not tell (macOS)."""

    def __init__(self, folder: Path) -> None:
        self._handle = -1
        libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        if libc is not None:
            self._handle = libc.inotify_init1(_IN_NONBLOCK)
            libc.inotify_add_watch(self._handle, os.fsencode(folder), _IN_CREATE_OPEN)

    def events(self) -> list[str]:
        """Names of the files opened since the last call."""
        names = []
        with suppress(OSError):
            while self._handle >= 0:
                content = os.read(self._handle, 1 << 16)
                at = 0
                while at < len(content):
                    size = int.from_bytes(content[at + 12 : at + 16], sys.byteorder)
                    name = content[at + 16 : at + 16 + size].rstrip(b"\0").decode()
                    names += [name] if name else []
                    at += 16 + size
        return names


def shows_secret(texts: Mapping[str, str]) -> str | None:
    """Which of the outputs holds what only the files outside hold."""
    return next((f"{name} shows the content of a file outside" for name, text in texts.items() if SECRET in text), None)
