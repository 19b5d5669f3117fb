"""Standard output and error of a command: any encoding, nobody at the other end, a full disk.

- A character that the terminal's encoding does not have is spelled (λ becomes "lambda") or escaped, never an error.
- Nobody reads standard error any more, or it cannot be written: what is said there is dropped, and the work goes on. A
  training must not end because a terminal was closed.
- Nobody reads standard output any more: the command ends without a word and with the code of a program that SIGPIPE has
  ended, as in any pipe into ``head``. Commands write their files before they print.
- Standard output cannot be written for another reason, a full disk: a sentence.
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
"""Exit code when nobody reads standard output any more: 128 + SIGPIPE."""

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
"""Our own letters and signs, for terminals without them."""

_GONE = {errno.EPIPE, errno.EIO, errno.ECONNRESET, getattr(errno, "ESHUTDOWN", errno.EPIPE)}
"""A pipe without a reader, a terminal that was closed, a connection that ended."""
if os.name == "nt":
    _GONE.add(errno.EINVAL)


class OutputClosed(SystemExit):
    """Nobody reads standard output any more; left uncaught, it ends a process without a word."""

    def __init__(self) -> None:
        super().__init__(CLOSED)


def spelled(text: str, encoding: str | None) -> str:
    """The text in characters that an encoding has: what it does not have is spelled, or escaped."""
    encoding = encoding or "utf-8"
    return text.encode(encoding, ERRORS).decode(encoding)


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end].translate(SPELLINGS)
    return letters.encode("ascii", "backslashreplace").decode("ascii"), error.end


ERRORS = "adafocus_spelled"
"""Name of the error handler that spells; see ``codecs``."""
codecs.register_error(ERRORS, _spell)


class Output:
    """A text stream that is written to as long as somebody takes it; all else as the stream under it.

    Args:
        stream: the stream.
        dispensable: whether what cannot be written is dropped; otherwise writing raises.
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
            OutputClosed: nobody reads it.
            UserError: it cannot be written.
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
        """As ``write``, line by line."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what was written; once something has failed, nothing any more.

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
    """Put an ``Output`` in the place of ``sys.stdout`` and ``sys.stderr`` as long as the block runs.

    A stream that was closed before Python started (``>&-``) becomes a null device.
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
    """Let a stream take characters that its encoding does not have."""
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
    """Make what libraries and plug-ins warn of fit for a terminal: their words may quote a file's."""
    before = warnings.formatwarning

    def formatted(*args: Any, **options: Any) -> str:
        return "".join(f"{printable(line)}\n" for line in before(*args, **options).rstrip("\n").split("\n"))

    warnings.formatwarning = formatted
    try:
        yield
    finally:
        warnings.formatwarning = before


def fill_descriptors() -> None:
    """Open the null device in the place of standard streams that are closed (``>&-``).

    Otherwise the next file that is opened, a checkpoint say, gets the number of standard error, and a library in C
    that reports something writes into it.
    """
    with contextlib.suppress(OSError):
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(number, True)
        os.close(number)


def let_go() -> None:
    """Give up what could not be written: the interpreter would complain of it when the process ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
