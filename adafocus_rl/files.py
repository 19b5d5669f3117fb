"""Text and JSON files: read within limits, written atomically.

All untrusted files are read through this module, so that a pipe without a writer, a file that decompresses to more
than the memory, or bytes that are not text end in a one-sentence error in every command.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import hashlib
import io
import json
import os
import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from gzip import GzipFile
from pathlib import Path
from typing import Any

from adafocus_rl.errors import UserError
from adafocus_rl.folders import make_folders, sync_file, sync_folder

TEXT_LIMIT = 256 << 20
"""Largest text file that is read, in bytes; ten times the size of the lists of Kinetics-700."""

JSON_LIMIT = 64 << 20
"""Largest JSON document that is read, in bytes; as Python objects it may take twenty times as much memory."""


_BLOCK = 1 << 20


def user_path(name: Path | str) -> Path:
    """Convert a path given by a user, with ``~`` expanded.

    Raises:
        UserError: the path begins with ``~NAME`` of an unknown user, or contains a NUL character.
    """
    if "\0" in str(name):
        raise UserError(f"{str(name)!r} holds a NUL, which no path can; leave it out")
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise UserError(f"{name} begins with the home folder of a user who is not known here; write it out") from None


def new_folder(name: Path | str, what: str) -> Path:
    """Return the path, given by a user, of a folder to write into, which is empty or does not exist yet.

    Args:
        name: the path.
        what: kind of folder, for the message: "folder of crops".

    Raises:
        UserError: it is a file, or holds something.
    """
    folder = user_path(name)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"the {what}, {folder}, is a file; give a new or an empty folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"the {what}, {folder}, is not empty; give a new or an empty folder")
    return folder


def read_bytes(path: Path | str, what: str, *, limit: int = TEXT_LIMIT) -> bytes:
    """Read the content of a regular file, decompressed if its name ends in ``.gz``.

    Args:
        path: the file.
        what: kind of file, for the message: "list file", "file of class names".
        limit: largest decompressed size in bytes.

    Raises:
        UserError: the file does not exist, is a folder, pipe or device, or is unreadable, damaged or too large.
    """
    path = Path(path)
    try:
        # Without O_NONBLOCK, opening a pipe that has no writer blocks forever.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise UserError(f"the {what} {path} is no regular file; give a file, not a folder, pipe or device")
            source = GzipFile(fileobj=file) if path.suffix == ".gz" else file
            content = _read_until(source, limit + 1)
    except FileNotFoundError:
        raise UserError(f"there is no {what} {path}; check the path") from None
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise UserError(f"the {what} {path} cannot be read ({_reason(error)}); check the file") from None
    if len(content) > limit:
        raise UserError(f"the {what} {path} has more than {limit} bytes; check that it is the right file")
    return content


def _read_until(source: io.BufferedIOBase, most: int) -> bytes:
    """Read up to ``most`` bytes; in blocks, because ``read`` reserves memory for all that it may return."""
    blocks: list[bytes] = []
    size = 0
    while size < most:
        block = source.read(min(_BLOCK, most - size))
        if block is None:  # "no data yet", not the end of the file; the kernel's log is such a file
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        if not block:
            break
        blocks.append(block)
        size += len(block)
    return b"".join(blocks)


def read_text(path: Path | str, what: str, *, limit: int = TEXT_LIMIT) -> str:
    """Read a file as UTF-8 text without its byte-order mark, or as UTF-16 if it has one; otherwise like ``read_bytes``.

    Raises:
        UserError: as for ``read_bytes``, or the content is not such text.
    """
    content = read_bytes(path, what, limit=limit)
    # utf-8-sig: spreadsheet programs write a byte-order mark before the first column's name. Their "Unicode text" and
    # files redirected by Windows PowerShell are UTF-16.
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
    """Read a JSON document of any type; otherwise like ``read_text``.

    Raises:
        UserError: as for ``read_text``, or the text is not JSON, or is nested too deeply.
    """
    return parse_json(read_text(path, what, limit=limit), f"the {what} {path}")


def parse_json(text: str, whole: str) -> Any:
    """Parse a JSON document.

    Args:
        text: the document.
        whole: description of the document and its place, for the message.

    Raises:
        UserError: the text is not JSON, is nested too deeply, or contains a number with too many digits.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise UserError(f"{whole} is nested too deeply; check the file") from None
    except ValueError as error:
        raise UserError(f"{whole} is no valid JSON ({_reason(error)}); check the file") from None


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; flush it and rename it to ``path`` when the context ends.

    If the block raises, the temporary file is removed and an existing file of this name stays unchanged.

    Args:
        path: the file to write or replace; missing folders are created.

    Raises:
        OSError: writing failed; the error names ``path``.
    """
    path = Path(path)
    name = path.name
    if len(os.fsencode(name)) > 240:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    # A fixed temporary name: the next write overwrites what a killed process left behind.
    temporary = path.with_name(f".{name}.part")
    try:
        with naming(path, instead_of=temporary):
            make_folders(path.parent)
            temporary.unlink(missing_ok=True)
            yield temporary
            sync_file(temporary)
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def naming(path: Path | str, *, instead_of: Path | None = None) -> Iterator[None]:
    """Add the file's name to any ``OSError`` raised within the context; a failed write to an open file has none.

    Args:
        path: the file to name.
        instead_of: a temporary name that ``path`` replaces in the error.

    Raises:
        OSError: the block's error, with the name.
    """
    try:
        yield
    except OSError as error:
        # FFmpeg reports the file under the name with which it was opened.
        unknown = (None, str(instead_of), os.fsencode(str(instead_of)), f"file:{instead_of}")
        nameless = error.filename in unknown
        if nameless and error.errno is not None:
            raise OSError(error.errno, error.strerror or os.strerror(error.errno), str(path)) from error
        raise


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write or replace a file atomically; missing folders are created.

    Raises:
        OSError: writing failed.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_together(contents: Mapping[Path, str]) -> None:
    """Write or replace several UTF-8 text files that belong together.

    All are written under temporary names before the first is renamed, so most failures leave all files unchanged.

    Raises:
        OSError: writing failed; no file has changed, unless the failure came between two renames.
    """
    for path in contents:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with contextlib.ExitStack() as stack:
        for path, content in contents.items():
            stack.enter_context(replacing(path)).write_bytes(content.encode("utf-8"))


def write_text(path: Path | str, text: str) -> None:
    r"""Write or replace a UTF-8 text file without translating ``\n``; otherwise like ``write_bytes``."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, content: Mapping[str, Any] | Sequence[Any], *, indent: int | None = 1) -> None:
    """Write or replace a JSON file; otherwise like ``write_bytes``.

    Raises:
        TypeError: a value cannot be represented in JSON.
    """
    write_text(path, json.dumps(content, indent=indent) + "\n")


def append_line(path: Path | str, line: str) -> None:
    r"""Append a line of UTF-8 text to a file, completely or not at all, and flush it; missing folders are created.

    If a killed process left an unterminated line, that line is terminated first.

    Args:
        path: the file; created if missing.
        line: the text without its ``\n``.

    Raises:
        OSError: writing failed; the file is unchanged.
    """
    path = Path(path)
    with naming(path):
        make_folders(path.parent)
        # Unbuffered, so that a failed write raises here and not when the file is closed.
        with path.open("ab+", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                line = line if file.read(1) == b"\n" else f"\n{line}"
            rest = memoryview(f"{line}\n".encode())
            try:
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except BaseException:
                with contextlib.suppress(OSError):
                    file.truncate(size)
                raise
    if not size:
        sync_folder(path.parent)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error).splitlines()[0]
