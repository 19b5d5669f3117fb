"""Folder lock: only one process at a time writes into a folder; the others raise an error that names it.

Processes that write disjoint parts of a folder lock disjoint ranges of bytes of the lock file, and a process that
writes everything locks all of it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from adafocus_rl.errors import UserError
from adafocus_rl.files import parse_json
from adafocus_rl.folders import make_folders

NAME = ".lock"
"""The lock file, present while a process writes."""

_AWAY = 1 << 30
"""Offset of the locked bytes, beyond the content, because other processes cannot read locked bytes on Windows."""

_SPAN = 1 << 26
"""Number of locked bytes; parts of up to 4,096 have different limits."""

_TURN = 1
"""Number of bytes after these, locked by the part that writes what belongs to no part."""

_PATIENCE = 30.0
"""Maximum number of seconds that a part waits for its turn."""

_ATTEMPTS = 1000
"""Maximum number of lock files that are opened and found removed."""

_HISTORY = 1 << 20
"""Number of bytes of the lock file that are searched for the holder of a part."""

_held: dict[Path, IO[bytes]] = {}
"""Lock files of this process by folder; the system's locks do not detect them: they act between processes."""

Part = tuple[int, int]
"""Number, from 1, and count of equal parts of what is written into a folder."""

WHOLE: Part = (1, 1)


@contextlib.contextmanager
def locked(folder: Path, command: str, *, part: Part = WHOLE) -> Iterator[None]:
    """Lock a folder within the block, so that only this process writes into it; create the folder if missing.

    The operating system releases the lock when the process ends for any reason, so no stale lock can remain. On a file
    system without locks the block runs unlocked.

    Args:
        folder: the folder to write to.
        command: this process's command, for the messages of other processes.
        part: lock only this part of the folder's content, so that other processes can write other parts.

    Raises:
        UserError: if another process holds the lock, or that of a part that overlaps; the message names it.
    """
    key = Path(os.path.realpath(folder))
    if key in _held:
        raise UserError(_taken(folder, f"process {os.getpid()}, this one"))
    made = not folder.exists()
    make_folders(folder)
    file = _acquire(folder, part)
    _held[key] = file
    try:
        with contextlib.suppress(OSError):  # the content is only for messages, so a full disk does no harm
            if part == WHOLE:
                file.truncate(0)
            file.write(_line({**_self(), "part": part, "command": command}))
        yield
    finally:
        del _held[key]
        with contextlib.suppress(OSError):
            if part == WHOLE:
                # Before releasing the lock: a process that opened it meanwhile notices, and makes a new one.
                (folder / NAME).unlink()
            else:  # other parts use the file
                file.write(_line({**_self(), "ended": True}))
        file.close()
        if made:
            with contextlib.suppress(OSError):  # the folder is not empty
                folder.rmdir()


@contextlib.contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Within ``locked`` for a part, exclude the same block of other parts, for files that all parts write.

    Raises:
        UserError: if another process has been in such a block for too long.
    """
    handle = _held[Path(os.path.realpath(folder))].fileno()
    until = time.monotonic() + _PATIENCE
    while not _lock(handle, _SPAN, _TURN):
        if time.monotonic() > until:
            raise UserError(f"another part has been writing notes into {folder} for {_PATIENCE:.0f} s; end its process")
        time.sleep(0.05)
    try:
        yield
    finally:
        _lock(handle, _SPAN, _TURN, release=True)


def _acquire(folder: Path, part: Part) -> IO[bytes]:
    path = folder / NAME
    number, count = part
    first, last = (_SPAN * edge // count for edge in (number - 1, number))
    # The whole includes the parts' turn.
    size = last - first + (_TURN if part == WHOLE else 0)
    for _ in range(_ATTEMPTS):
        file = path.open("ab+", buffering=0)
        if not _lock(file.fileno(), first, size):
            with file:
                raise UserError(_taken(folder, _holder(file, part)))
        # Another process may have removed the file between opening and locking it.
        with contextlib.suppress(OSError):
            if sys.platform == "win32" or os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()
    raise UserError(_taken(folder, "processes that begin and end all the time"))


def _lock(handle: int, first: int, size: int, *, release: bool = False) -> bool:
    """Lock or release bytes of the file, and return at once; False if another process has locked some of them."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, _AWAY + first, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_UNLCK if release else msvcrt.LK_NBLCK, size)
        else:
            import fcntl

            # A record lock, not flock: forked worker processes would keep the latter after their parent's death.
            fcntl.lockf(handle, fcntl.LOCK_UN if release else fcntl.LOCK_EX | fcntl.LOCK_NB, size, _AWAY + first)
    except OSError as error:
        # Other errors: the file system has no locks, as some network file systems.
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True


def _self() -> dict[str, str | int]:
    return {"pid": os.getpid(), "host": platform.node()}


def _line(entry: Mapping[str, Any]) -> bytes:
    return f"{json.dumps({**entry, 'at': time.strftime('%Y-%m-%d %H:%M:%S')})}\n".encode()


def _holder(file: IO[bytes], part: Part) -> str:
    """Return a description of the process that holds the lock of a part, as far as the file can be read."""
    try:
        file.seek(0)
        ended = set()
        for line in reversed(file.read(_HISTORY).decode().splitlines()):
            entry = parse_json(line, "the lock")
            process = entry["pid"], entry["host"]
            if "ended" in entry:
                ended.add(process)
            elif process not in ended and _overlap(entry["part"], part):
                return f"`{entry['command']}`, process {process[0]} on {process[1]} since {entry['at']}"
    except (UserError, OSError, ValueError, LookupError, TypeError):
        pass
    return "another process"


def _overlap(one: Part, other: Part) -> bool:
    return (one[0] - 1) * other[1] < other[0] * one[1] and (other[0] - 1) * one[1] < one[0] * other[1]


def _taken(folder: Path, holder: str) -> str:
    return f"{folder} is being written to by {holder}; wait until it has ended, or give another folder"
