"""Files of text and JSON: read within limits, written whole or not at all.

Everything that a stranger hands us is read here, so that a pipe nobody writes to, a file that unpacks to more than the
memory, or bytes that are no text end in one sentence, whichever command met them.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import hashlib
import json
import os
import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from gzip import GzipFile
from pathlib import Path
from typing import Any

from adafocus_rl.errors import UserError

TEXT_LIMIT = 256 << 20
"""Bytes of the largest text that is read; ten times the lists of Kinetics-700."""

JSON_LIMIT = 64 << 20
"""Bytes of the largest JSON document that is read; as objects it may take twenty times as much."""


def user_path(name: Path | str) -> Path:
    """A path as a user gave it, ``~`` unfolded.

    Raises:
        UserError: ``~NAME`` of a user who is not known here, or a NUL, which no path holds.
    """
    if "\0" in str(name):
        raise UserError(f"{str(name)!r} holds a NUL, which no path can; leave it out")
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise UserError(f"{name} begins with the home folder of a user who is not known here; write it out") from None


def read_bytes(path: Path | str, what: str, *, limit: int = TEXT_LIMIT) -> bytes:
    """The content of a regular file, unpacked if its name ends in ``.gz``.

    Args:
        path: the file.
        what: what it is, for the message: "list file", "file of class names".
        limit: bytes of content, unpacked, above which it is refused.

    Raises:
        UserError: no such file, a folder, pipe or device, unreadable, damaged, or too large.
    """
    path = Path(path)
    try:
        # Without O_NONBLOCK a pipe that nobody writes to is waited for, without end.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise UserError(f"the {what} {path} is no regular file; give a file, not a folder, pipe or device")
            source = GzipFile(fileobj=file) if path.suffix == ".gz" else file
            # Nothing is not the end: the kernel's log, for one, has nothing to say yet.
            content = source.read(limit + 1)
            if content is None:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(path))
    except FileNotFoundError:
        raise UserError(f"there is no {what} {path}; check the path") from None
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise UserError(f"the {what} {path} cannot be read ({_reason(error)}); check the file") from None
    if len(content) > limit:
        raise UserError(f"the {what} {path} has more than {limit} bytes; check that it is the right file")
    return content


def read_text(path: Path | str, what: str, *, limit: int = TEXT_LIMIT) -> str:
    """The text of a UTF-8 file, a byte-order mark left out, or of UTF-16 with one; otherwise as ``read_bytes``.

    Raises:
        UserError: as there, or the file holds no such text.
    """
    content = read_bytes(path, what, limit=limit)
    # utf-8-sig: spreadsheet programs put a byte-order mark before the first column's name; their "Unicode text", and
    # what Windows' PowerShell redirects into a file, is UTF-16.
    encoding = "utf-16" if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        kind = "UTF-16" if encoding == "utf-16" else "UTF-8"
        raise UserError(f"the {what} {path} cannot be read as {kind} text ({error}); save it as UTF-8") from None
    head = text[:100]
    if 3 * head.count("\0") > len(head) > 0:
        raise UserError(f"the {what} {path} is UTF-16 without a byte-order mark, or no text; save it as UTF-8")
    return text


def read_json(path: Path | str, what: str, *, limit: int = JSON_LIMIT) -> Any:
    """The content of a JSON file, of whatever type; otherwise as ``read_text``.

    Raises:
        UserError: as there, or the text is no JSON, or nested too deeply.
    """
    return parse_json(read_text(path, what, limit=limit), f"the {what} {path}")


def parse_json(text: str, whole: str) -> Any:
    """The content of a JSON document.

    Args:
        text: the document.
        whole: what it is and where it lies, for the message.

    Raises:
        UserError: no JSON, nested too deeply, or a number of too many digits.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise UserError(f"{whole} is nested too deeply; check the file") from None
    except ValueError as error:
        raise UserError(f"{whole} is no valid JSON ({_reason(error)}); check the file") from None


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends, flushed to the disk.

    When the block raises, an earlier file of this name is unharmed and the temporary one is removed.

    Args:
        path: the file to write or replace; missing folders are made.

    Raises:
        OSError: the disk refused; it names ``path``, whatever step failed.
    """
    path = Path(path)
    name = path.name
    if len(os.fsencode(name)) > 240:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    # One fixed temporary name: what a killed process left is overwritten, not collected.
    temporary = path.with_name(f".{name}.part")
    try:
        with naming(path, instead_of=temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def naming(path: Path | str, *, instead_of: Path | None = None) -> Iterator[None]:
    """A block in which the disk's refusal names a file: a write to an open file that finds it full does not.

    Args:
        path: the file to name.
        instead_of: a name that nobody knows, which the message would else have.

    Raises:
        OSError: the block's, with the name.
    """
    try:
        yield
    except OSError as error:
        # FFmpeg names a file as it was told to open it.
        unknown = (None, str(instead_of), os.fsencode(str(instead_of)), f"file:{instead_of}")
        nameless = error.filename in unknown
        if nameless and error.errno is not None:
            raise OSError(error.errno, error.strerror or os.strerror(error.errno), str(path)) from error
        raise


def write_bytes(path: Path | str, content: bytes) -> None:
    """Writes or replaces a file, whole or not at all; missing folders are made.

    Raises:
        OSError: the disk refused.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_together(contents: Mapping[Path, str]) -> None:
    """Writes or replaces several files of UTF-8 text, none of which means anything without the others.

    All are written under temporary names before the first takes its place: what can go wrong goes wrong before.

    Raises:
        OSError: the disk refused; nothing has changed, unless it did so between two renames.
    """
    for path in contents:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with contextlib.ExitStack() as stack:
        for path, content in contents.items():
            stack.enter_context(replacing(path)).write_bytes(content.encode("utf-8"))


def write_text(path: Path | str, text: str) -> None:
    r"""Writes or replaces a file of UTF-8 text with ``\n`` as it stands; otherwise as ``write_bytes``."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, content: Mapping[str, Any] | Sequence[Any], *, indent: int | None = 1) -> None:
    """Writes or replaces a JSON file; otherwise as ``write_bytes``.

    Raises:
        TypeError: a value that JSON cannot hold.
    """
    write_text(path, json.dumps(content, indent=indent) + "\n")


def append_line(path: Path | str, line: str) -> None:
    r"""Adds a line of UTF-8 text to a file, whole or not at all; missing folders are made.

    Where a killed process left a line without its end, the new one begins after it.

    Args:
        path: the file; made when missing.
        line: without its ``\n``.

    Raises:
        OSError: the disk refused; the file is as it was.
    """
    path = Path(path)
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: what the disk refuses is known here, not when the file is closed.
        with path.open("ab+", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                line = line if file.read(1) == b"\n" else f"\n{line}"
            rest = memoryview(f"{line}\n".encode())
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except BaseException:
                with contextlib.suppress(OSError):
                    file.truncate(size)
                raise


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder survive a power cut, where the system can (Windows cannot open folders)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error).splitlines()[0]
