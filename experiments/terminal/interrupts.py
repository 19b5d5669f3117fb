"""Ctrl-C, ``kill`` and a closed terminal: all end a command as Ctrl-C does, with what is finished kept."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "the terminal was closed"}
"""What ends a command, by name (Windows has no SIGHUP), and what is said then."""


class Interrupted(KeyboardInterrupt):
    """A signal asked for the end.

    Args:
        number: the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def describe(error: KeyboardInterrupt) -> tuple[str, int]:
    """In a word what happened, and the exit code: 128 and the signal's number."""
    number = error.number if isinstance(error, Interrupted) else signal.SIGINT
    return SIGNALS[signal.Signals(number).name], 128 + number


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within the block the first of these signals raises ``Interrupted``, the second ends the process at once.

    Only where nobody else has decided: not in another thread than the main one, not for a signal that is ignored
    (``nohup``) or has a handler already.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = _Handler()
    before = {}
    for name in SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


class _Handler:
    def __init__(self) -> None:
        self.owner = os.getpid()
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.owner:
            # A forked worker: Ctrl-C reaches all processes of a terminal, and the first one says what there is to say.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if not self.asked:
            self.asked = True
            raise Interrupted(number)
        for process in multiprocessing.active_children():
            process.kill()
        with contextlib.suppress(OSError):
            # Below Python's streams, one of which this may have interrupted; a progress bar hides the cursor.
            os.write(2, b"\x1b[?25h\n" if os.isatty(2) else b"")
            os.write(2, b"adafocus: ended at once\n")
        os._exit(128 + number)


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Processes that are started in the block never see Ctrl-C, not even while they import; who started them ends them.

    Ctrl-C itself waits for the block's end.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_quietly() -> None:
    """From here on the process only ends: another Ctrl-C finds no clean-up to print a traceback of."""
    if threading.current_thread() is threading.main_thread() and sys.platform != "win32":
        for name in ("SIGINT", "SIGTERM"):
            if signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
                signal.signal(getattr(signal, name), signal.SIG_DFL)
