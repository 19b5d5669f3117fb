"""A thread that runs functions in order while its caller goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType


class Background:
    """Runs functions one after another in a thread.

    It is a context manager: leaving it waits for all functions that were given to ``run``. Once a function has raised
    an exception, no other function runs, because it may depend on the first.

    Args:
        waiting: number of functions that may be unfinished when ``run`` returns; bounds the memory of what they hold.
    """

    def __init__(self, *, waiting: int) -> None:
        self.waiting = waiting
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="adafocus")
        self._given: deque[Future[None]] = deque()
        self._error: BaseException | None = None

    def run(self, function: Callable[[], object]) -> None:
        """Run a function after those that were given before.

        Raises:
            BaseException: what an earlier function raised.
        """
        self._given.append(self._thread.submit(self._call, function))
        while len(self._given) > self.waiting:
            self._given.popleft().result()
        self._check()

    def _call(self, function: Callable[[], object]) -> None:
        if self._error is None:
            try:
                function()
            except BaseException as error:
                self._error = error

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Background:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._thread.shutdown()
        except BaseException as interrupt:  # the user does not want to wait
            self._error = interrupt
            raise
        if error is None:
            self._check()
