"""Folder lock: only one process at a time writes into a folder; the others raise an error that names it."""

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
"""The lock file, present while a process writes."""

_AWAY = 1 << 30
"""Offset of the byte locked on Windows, beyond the content, because other processes cannot read locked bytes there."""

_held: set[Path] = set()
"""Folders that this process has locked, which the system's locks do not detect: they act between processes."""


@contextlib.contextmanager
def locked(folder: Path, command: str) -> Iterator[None]:
    """Lock a folder within the block, so that only this process writes into it; create the folder if missing.

    The operating system releases the lock when the process ends for any reason, so no stale lock can remain. On a file
    system without locks the block runs unlocked.

    Args:
        folder: the folder to write to.
        command: this process's command, for the messages of other processes.

    Raises:
        UserError: if another process holds the lock; the message names it.
    """
    key = Path(os.path.realpath(folder))
    if key in _held:
        raise UserError(_taken(folder, f"process {os.getpid()}, this one"))
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    file = _acquire(folder)
    _held.add(key)
    try:
        with contextlib.suppress(OSError):  # the content is only for messages, so a full disk does no harm
            file.truncate(0)
            file.write(json.dumps(_self(command)).encode())
        yield
    finally:
        _held.discard(key)
        # Remove the file before releasing the lock: a process that opened it meanwhile notices, and makes a new one.
        with contextlib.suppress(OSError):
            (folder / NAME).unlink()
        file.close()
        if made:
            with contextlib.suppress(OSError):  # the folder is not empty
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
            return file  # the file system has no locks, as some network file systems
        # Another process may have removed the file between opening and locking it.
        with contextlib.suppress(OSError):
            if sys.platform == "win32" or os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _lock(handle: int) -> None:
    """Lock the file, or raise at once: EACCES or EAGAIN if another process holds the lock."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(handle, _AWAY, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        # A record lock, not flock: forked worker processes would keep the latter after their parent's death.
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _self(command: str) -> dict[str, str | int]:
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": os.getpid(), "host": platform.node(), "started": started, "command": command}


def _holder(file: IO[bytes]) -> str:
    """Return a description of the process that holds the lock, as far as the file can be read."""
    try:
        file.seek(0)
        found = parse_json(file.read(4096).decode(), "the lock")
        return f"`{found['command']}`, process {found['pid']} on {found['host']} since {found['started']}"
    except (UserError, OSError, UnicodeDecodeError, LookupError, TypeError):
        return "another process"


def _taken(folder: Path, holder: str) -> str:
    return f"{folder} is being written to by {holder}; wait until it has ended, or give another folder"
