"""Standard output and error of a command, robust to limited encodings, closed pipes and full disks.

- A character that the terminal's encoding lacks is spelled out (λ becomes "lambda") or escaped; it never causes an
  error.
- If standard error is closed or cannot be written, messages are dropped and the command continues: training must not
  end because a terminal was closed.
- If the reader of standard output has gone, as in a pipe into ``head``, the command ends silently with the exit code of
  a program ended by SIGPIPE. Commands write their files before they print.
- If standard output cannot be written for another reason, such as a full disk, the command reports an error.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO, cast

from adafocus_rl.errors import UserError
from adafocus_rl.printable import printable

CLOSED = 141 if os.name == "posix" else 1
"""Exit code when the reader of standard output has gone: 128 + SIGPIPE."""

SPELLINGS = str.maketrans(
    {
        "λ": "lambda",
        "π": "pi",
        "′": "'",
        "×": "x",
        "²": "^2",
        "⁹": "^9",
        "–": "-",
        "−": "-",
        "…": "...",
        "█": "#",
        "▏": "|",
        "→": "->",
        "’": "'",
    }
)
"""ASCII spellings of the non-ASCII characters that our messages use."""

_GONE = {errno.EPIPE, errno.EIO, errno.ECONNRESET, getattr(errno, "ESHUTDOWN", errno.EPIPE)}
"""Error numbers of a pipe without a reader, a closed terminal, and a closed connection."""
if os.name == "nt":
    _GONE.add(errno.EINVAL)


class OutputClosed(SystemExit):
    """Raised when the reader of standard output has gone; if uncaught, it ends the process silently."""

    def __init__(self) -> None:
        super().__init__(CLOSED)


def spelled(text: str, encoding: str | None) -> str:
    """Return the text with the characters that an encoding lacks spelled out or escaped."""
    encoding = encoding or "utf-8"
    return text.encode(encoding, ERRORS).decode(encoding)


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end].translate(SPELLINGS)
    return letters.encode("ascii", "backslashreplace").decode("ascii"), error.end


ERRORS = "adafocus_spelled"
"""Name of the error handler that spells out or escapes characters; see ``codecs.register_error``."""
codecs.register_error(ERRORS, _spell)


class Output:
    """Wrapper of a text stream that stops writing after the first failure; other attributes are the stream's.

    Args:
        stream: the wrapped stream.
        dispensable: whether text that cannot be written is dropped; otherwise writing raises.
    """

    def __init__(self, stream: TextIO, *, dispensable: bool) -> None:
        self._stream = stream
        self._dispensable = dispensable
        self._failed: BaseException | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text, or drop it.

        Raises:
            OutputClosed: if the reader of the stream has gone.
            UserError: if the stream cannot be written for another reason.
        """
        if self._failed is None:
            try:
                return self._stream.write(text)
            except (OSError, ValueError) as error:
                self._fail(error)
        elif not self._dispensable:
            raise self._failed
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each line as ``write`` does."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the stream; after a failure, do nothing.

        Raises:
            OutputClosed, UserError: as ``write``.
        """
        if self._failed is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._fail(error)

    def _fail(self, error: OSError | ValueError) -> None:
        if isinstance(error, UnicodeError):
            raise error
        number = error.errno if isinstance(error, OSError) else errno.EPIPE  # ValueError: the stream is closed
        reason = error.strerror if isinstance(error, OSError) else str(error)
        gone = number in _GONE
        self._failed = OutputClosed() if gone else UserError(
            f"standard output cannot be written ({reason}); make room, or send it elsewhere"
        )  # fmt: skip
        if not self._dispensable:
            raise self._failed from None


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Replace ``sys.stdout`` and ``sys.stderr`` by an ``Output`` within the block.

    A stream that was closed before Python started (``>&-``) is replaced by the null device.
    """
    before = sys.stdout, sys.stderr
    with contextlib.ExitStack() as stack:
        null = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8")) if None in before else None
        stdout, stderr = (cast(TextIO, null) if stream is None else stream for stream in before)
        for context in (_any_text(stdout), _any_text(stderr), _printable_warnings()):
            stack.enter_context(context)
        sys.stdout = cast(TextIO, Output(stdout, dispensable=False))
        sys.stderr = cast(TextIO, Output(stderr, dispensable=True))
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


@contextlib.contextmanager
def _any_text(stream: TextIO) -> Iterator[None]:
    """Let a stream accept characters that its encoding lacks."""
    reconfigure, errors = getattr(stream, "reconfigure", None), getattr(stream, "errors", None)
    if reconfigure is None:
        yield
        return
    reconfigure(errors=ERRORS)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            reconfigure(errors=errors)


@contextlib.contextmanager
def _printable_warnings() -> Iterator[None]:
    """Escape unprintable characters in the warnings of libraries and plug-ins, which may quote a file's content."""
    before = warnings.formatwarning

    def formatted(*args: Any, **options: Any) -> str:
        return "".join(f"{printable(line)}\n" for line in before(*args, **options).rstrip("\n").split("\n"))

    warnings.formatwarning = formatted
    try:
        yield
    finally:
        warnings.formatwarning = before


def fill_descriptors() -> None:
    """Open the null device in place of standard streams that are closed (``>&-``).

    Otherwise the next file that is opened, such as a checkpoint, gets the descriptor of standard error, and C
    libraries write their messages into it.
    """
    with contextlib.suppress(OSError):
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(number, True)
        os.close(number)


def let_go() -> None:
    """Discard output that cannot be written, which the interpreter would otherwise report when the process exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
