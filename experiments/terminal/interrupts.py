"""Signal handling: Ctrl-C, ``kill`` and a closed terminal all interrupt a command, which keeps its finished work."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from adafocus_rl.experiments.terminal.launcher import launched

SIGNALS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "the terminal was closed"}
"""Signals that end a command (Windows has no SIGHUP), and the word that its message then uses."""


class Interrupted(KeyboardInterrupt):
    """Raised when a signal interrupts the command.

    Args:
        number: the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def describe(error: KeyboardInterrupt) -> tuple[str, int]:
    """Return a short description of the interrupt, and the exit code: 128 plus the signal's number."""
    number = error.number if isinstance(error, Interrupted) else signal.SIGINT
    return SIGNALS[signal.Signals(number).name], 128 + number


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Make the first of these signals within the block raise ``Interrupted``, and the second end the process at once.

    This has no effect outside the main thread, nor on a signal that is ignored (``nohup``) or already has a handler.
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
            # A forked worker: Ctrl-C reaches all processes of a terminal, and only the main process prints a message.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if not self.asked:
            self.asked = True
            raise Interrupted(number)
        if launched():
            return  # torchrun repeats what the terminal sent, and kills what does not end
        for process in multiprocessing.active_children():
            process.kill()
        with contextlib.suppress(OSError):
            # `os.write`, because the signal may have interrupted a write to Python's own stream. The escape sequence
            # shows the cursor, which a progress bar hides.
            os.write(2, b"\x1b[?25h\n" if os.isatty(2) else b"")
            os.write(2, b"adafocus: ended at once\n")
        os._exit(128 + number)


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Block Ctrl-C in processes started within the block, even while they import; their parent process ends them.

    In the parent, Ctrl-C takes effect at the end of the block.
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
    """Restore the default signal handlers, so that another signal during exit ends the process without a traceback."""
    if threading.current_thread() is threading.main_thread() and sys.platform != "win32":
        for name in ("SIGINT", "SIGTERM"):
            if signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
                signal.signal(getattr(signal, name), signal.SIG_DFL)
