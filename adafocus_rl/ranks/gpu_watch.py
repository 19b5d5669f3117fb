"""The end of a rank whose GPU waits for another rank that is lost: Python cannot raise an error in it."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn

import torch

from adafocus_rl.errors import RankError, UserError
from adafocus_rl.ranks.job import POLL, Job, Seen

OWN_END = 5.0
"""Seconds in which a rank ends by itself after another has ended."""

LIMIT = 600.0
"""Seconds after which NCCL gives up by default."""


def end_process(error: BaseException) -> NoReturn:
    """End this process at once, without a message."""
    os._exit(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else UserError.exit_code)


class GpuWatch(threading.Thread):
    """Looks at the other ranks while this rank's GPU waits for them.

    NCCL adds up tensors on the GPU, and the first operation of the process that waits for the GPU then waits for the
    other ranks, with no time limit; signal handlers do not run either. This thread does then what a wait over Gloo does
    by itself: it gives signs of life, and looks at those of the others. If one is lost, the thread ends the process.

    Args:
        job: this process's view of the job.
        end: ends the process for an error, which it reports unless it is a ``SystemExit``.
        device: number of the GPU; None if there is none.
        limit: seconds after which a rank gives up that has waited although all others go on.
    """

    def __init__(
        self, job: Job, end: Callable[[BaseException], NoReturn], *, device: int | None, limit: float = LIMIT
    ) -> None:
        super().__init__(name="adafocus GPU watch", daemon=True)
        self.job = job
        self.end = end
        self.device = device
        self.limit = limit
        self._stopped = threading.Event()

    def __enter__(self) -> GpuWatch:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        if error is None:
            self.join()

    def run(self) -> None:
        """Look once a second, until the block ends."""
        if self.device is not None:
            torch.cuda.set_device(self.device)  # of this thread: it would use memory of the first GPU otherwise
        exchange: int | None = None
        while not self._stopped.wait(POLL):
            try:
                before, exchange = exchange, self.job.waits_in()
                if exchange is None:
                    continue
                if exchange != before:
                    began, seen, ending = time.monotonic(), Seen(), math.inf
                self.job.send()
                self._look(began, seen)
                if self.job.said() or self.job.gone() is not None:
                    ending = min(ending, time.monotonic())
                if time.monotonic() - ending < OWN_END:
                    continue
                error = self.job.ended()
            except RankError as lost:
                error = lost
            except RuntimeError:  # the launcher has ended, and the store with it, or the GPU fails every call
                return
            self.end(self.job.explained(error))

    def _look(self, began: float, seen: Seen) -> None:
        self.job.look(seen)
        if time.monotonic() - began > self.limit:
            raise RankError(
                f"GPUs have waited for one another for {self.limit:g} s, although all ranks go on: NCCL fails; what "
                "was finished is kept"
            )
