"""One process at a time writes into a folder; whoever comes second is told who is first."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from adafocus_rl.errors import UserError
from adafocus_rl.files import parse_json

NAME = ".lock"
"""The file, there while a process writes."""

_AWAY = 1 << 30
"""Byte that is locked on Windows, where nobody else could read what is locked."""

_held: set[Path] = set()
"""Folders that this process has locked: the system's locks are between processes."""


@contextlib.contextmanager
def locked(folder: Path, command: str) -> Iterator[None]:
    """A block in which this process alone writes into a folder, which is made when missing.

    The lock is the system's and ends with the process, however that ends: none is ever left behind. A file system that
    has no locks does without.

    Args:
        folder: what is written to.
        command: who writes, for the other's message.

    Raises:
        UserError: another process holds it; the message tells which.
    """
    key = Path(os.path.realpath(folder))
    if key in _held:
        raise UserError(_taken(folder, f"process {os.getpid()}, this one"))
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    file = _acquire(folder)
    _held.add(key)
    try:
        with contextlib.suppress(OSError):  # only for messages: a full disk need not hinder
            file.truncate(0)
            file.write(json.dumps(_self(command)).encode())
        yield
    finally:
        _held.discard(key)
        # Removed before it is let go: who waits for a file of this name makes a new one.
        with contextlib.suppress(OSError):
            (folder / NAME).unlink()
        file.close()
        if made:
            with contextlib.suppress(OSError):  # something was written to it
                folder.rmdir()


def _acquire(folder: Path) -> IO[bytes]:
    path = folder / NAME
    while True:
        file = path.open("ab+", buffering=0)
        try:
            _lock(file.fileno())
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                with file:
                    raise UserError(_taken(folder, _holder(file))) from None
            return file  # a network's file system, say, that knows no locks
        # Another process may have removed the file between the opening and the lock.
        with contextlib.suppress(OSError):
            if sys.platform == "win32" or os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _lock(handle: int) -> None:
    """Locks, or raises at once: EACCES or EAGAIN where another process has it."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(handle, _AWAY, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        # A record lock, not flock: worker processes that are forks would hold the latter after their parent's death.
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _self(command: str) -> dict[str, str | int]:
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": os.getpid(), "host": platform.node(), "started": started, "command": command}


def _holder(file: IO[bytes]) -> str:
    """Who holds the lock, as far as it can be read."""
    try:
        file.seek(0)
        found = parse_json(file.read(4096).decode(), "the lock")
        return f"`{found['command']}`, process {found['pid']} on {found['host']} since {found['started']}"
    except (UserError, OSError, UnicodeDecodeError, LookupError, TypeError):
        return "another process"


def _taken(folder: Path, holder: str) -> str:
    return f"{folder} is being written to by {holder}; wait until it has ended, or give another folder"
