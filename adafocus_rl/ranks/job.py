"""The processes of a job as each of them knows the others: whether they go on, and which one reports the job's end."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import torch.distributed as dist
from torch.distributed import Store  # type: ignore[attr-defined]

from adafocus_rl.errors import RankError, UserError

POLL = 1.0
"""Seconds between two signs of life of a rank, and between two looks at those of the others while it waits."""

LAST_WORDS = 2.0
"""Seconds in which the end of a rank becomes known to the others, by its own words or as the end of its process."""

DAY = timedelta(days=1)

Seen = dict[int, tuple[bytes, float]]
"""The last sign of life of each rank, and when it was seen first."""


class SilentExit(SystemExit):
    """Ends this process without a message, because another rank has reported the job's end."""


class Job:
    """This process's view of the job.

    A rank waits for the others as long as they give signs of life: each writes a number to a store that all ranks
    reach, in all that takes long. So a rank that hangs is told from a rank that decodes a long video.

    Args:
        store: what all ranks read and write.
        number: the rank of this process.
        world: number of ranks.
        timeout: seconds without a sign of life from a rank after which those that wait for it raise an error.
    """

    def __init__(self, store: Store, number: int, world: int, timeout: float) -> None:
        self.store = store
        self.number = number
        self.world = world
        self.timeout = timeout
        self.alone = False
        self._process = os.getpid()
        self._beats = 0
        self._sent = 0.0
        self._exchanges = 0
        self._inside = 0
        self._done: Callable[[], bool] = lambda: True
        self._ending = threading.Lock()
        store.set(f"process/{number}", f"{os.getpid()} {platform.node()}")
        self.send()

    @property
    def here(self) -> bool:
        """Whether this process communicates now: it is no fork of a rank, and no rank that works alone."""
        return not self.alone and os.getpid() == self._process

    def beat(self) -> None:
        """Give a sign of life; cheap enough for every step of any loop."""
        if self.here and time.monotonic() - self._sent >= POLL:
            self.send()

    def send(self) -> None:
        """Give a sign of life now; any thread may do so."""
        self._sent = time.monotonic()
        self._beats += 1
        self.store.set(f"beat/{self.number}", str(self._beats))

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Give signs of life all through the block, whatever happens in it."""
        done = threading.Event()

        def beat() -> None:
            with contextlib.suppress(RuntimeError):  # the store has gone: the next communication says so
                while not done.wait(POLL):
                    self.send()

        thread = threading.Thread(target=beat, name="adafocus ranks", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def wait_for(self, work: dist.Work) -> None:
        """Wait for a communication over Gloo as long as all ranks go on.

        Raises:
            RankError: if a rank gives no sign of life, or has ended.
        """
        seen: Seen = {}
        while True:
            self.beat()
            try:
                work.wait(timedelta(seconds=POLL))
                return
            except RuntimeError as error:
                if work.is_completed():
                    try:
                        work.wait()
                        return
                    except RuntimeError:
                        raise self.ended() from error
            self.look(seen)

    @contextlib.contextmanager
    def exchanging(self, done: Callable[[], Callable[[], bool]]) -> Iterator[None]:
        """Let ``GpuWatch`` know that the process waits for other ranks in the block, or its GPU does after it.

        Args:
            done: called after the block; returns a function that tells whether the GPU is done with it.
        """
        self._exchanges += 1
        self._inside += 1
        try:
            yield
            self._done = done()
        finally:
            self._inside -= 1

    def waits_in(self) -> int | None:
        """Return the number of the exchange that this rank waits for, in the block or after it; None if it does not."""
        return self._exchanges if self._inside or not self._done() else None

    def look(self, seen: Seen) -> None:
        """Compare the ranks' signs of life with those seen before in the same wait, with their times.

        Args:
            seen: empty when the wait begins; changed.

        Raises:
            RankError: if a rank has given none for the timeout.
        """
        now = time.monotonic()
        for other in self._others():
            beat = self.store.get(f"beat/{other}")
            last, since = seen.get(other, (b"", now))
            if beat != last:
                seen[other] = beat, now
            elif now - since > self.timeout:
                raise RankError(
                    f"rank {other} of {self.world} has given no sign of life for {self.timeout:g} s: it hangs, or its "
                    "machine is lost; what was finished is kept"
                )

    def _others(self) -> list[int]:
        return [other for other in range(self.world) if other != self.number]

    # ---- the end of the job -------------------------------------------------------------------------------------

    def ended(self) -> RankError:
        """Return the error for a communication that another rank has broken off."""
        found, until = self.gone(), time.monotonic() + LAST_WORDS
        while found is None and time.monotonic() < until and not self.said():
            time.sleep(0.05)
            found = self.gone()
        who = "another rank" if found is None else f"rank {found}"
        return RankError(
            f"{who} of {self.world} has ended without a message: it was killed, or ran out of memory; what was "
            "finished is kept"
        )

    def gone(self) -> int | None:
        """Return a rank on this machine whose process has ended without a word; None if there is none."""
        for other in self._others():
            process, _, host = self.store.get(f"process/{other}").decode().partition(" ")
            if host == platform.node() and not self.store.check([f"ended/{other}"]):
                try:
                    os.kill(int(process), 0)
                except ProcessLookupError:
                    return other
                except OSError:  # another user's
                    continue
        return None

    def said(self) -> bool:
        """Return whether another rank has reported the job's end."""
        return bool(self.store.check(["reporter"]))

    def explained(self, error: BaseException) -> BaseException:
        """Return what to raise for an error that ends this rank: one rank reports it, and the others end silently.

        Args:
            error: what has ended the ranks' common work in this process.
        """
        self._ending.acquire()  # for ever: a second thread that would end this process waits for its end
        try:
            if isinstance(error, KeyboardInterrupt) and self.gone() is not None:
                # The launcher terminates the others when one has ended.
                error = self.ended()
            elif _is_communication(error):
                error = self.ended()
            self.store.set(f"ended/{self.number}", "1")
            reporter = self.store.compare_set("reporter", "", str(self.number)).decode()
        except (RuntimeError, ValueError):  # the launcher has ended, and the store with it
            reporter = "0"
        if reporter == str(self.number):
            return error
        code = 128 + getattr(error, "number", signal.SIGINT) if isinstance(error, KeyboardInterrupt) else None
        return SilentExit(UserError.exit_code if code is None else code)


def ignore_interrupts() -> None:
    """Ignore Ctrl-C and SIGTERM for the rest of this process, which is ending with its job.

    The launcher terminates the ranks that are left when one has ended, and that must neither replace the message of
    this rank nor add one. The launcher kills a rank that does not end.
    """
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)


def _is_communication(error: BaseException) -> bool:
    """Return whether a communication has failed, as torch reports it from Gloo or NCCL."""
    if isinstance(error, UserError) or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, dist.DistError) or any(name in str(error).lower() for name in ("gloo", "nccl"))
