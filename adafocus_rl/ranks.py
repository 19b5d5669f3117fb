"""The processes of one job that ``torchrun`` starts: the rank of this process, and what the ranks compute together.

Without ``torchrun`` a job has one rank, and every function here returns its argument without communication. All ranks
must call a function that communicates, in the same order; a rank that waits longer than the timeout raises an error.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from adafocus_rl.errors import UserError

T = TypeVar("T")

TIMEOUT = 60.0
"""Default of the seconds that a rank waits for the others before the job ends."""


@contextlib.contextmanager
def process_group(*, cuda: bool, timeout: float = TIMEOUT) -> Iterator[None]:
    """Join the job's other ranks within the block; without ``torchrun``, do nothing.

    Args:
        cuda: whether the ranks compute on GPUs of their own (NCCL) or on CPUs (Gloo).
        timeout: seconds that a rank waits for the others in one call before it raises an error.

    Raises:
        UserError: if the others cannot be reached.
    """
    if not launched():
        yield
        return
    try:
        # Objects and barriers go over Gloo, gradients and batch statistics over the backend of their device.
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"this process cannot reach the job's other ranks ({str(error).splitlines()[0]}); start them all with "
            "`torchrun --nproc-per-node N -m adafocus_rl train …`"
        ) from None
    try:
        yield
    finally:
        dist.destroy_process_group()


def launched() -> bool:
    """Return whether ``torchrun`` started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if _joined() else 0


def world() -> int:
    """Return the number of ranks."""
    return dist.get_world_size() if _joined() else 1


def local_rank() -> int:
    """Return the number of this process on its machine, which is also that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0")) if _joined() else 0


def local_world() -> int:
    """Return the number of ranks on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if _joined() else 1


def is_first() -> bool:
    """Return whether this is the rank that writes files and messages."""
    return rank() == 0


def own_part(count: int) -> slice:
    """Return this rank's part of ``count`` items; the parts of the ranks follow one another and differ by at most 1."""
    return slice(count * rank() // world(), count * (rank() + 1) // world())


def own(items: Sequence[T]) -> Sequence[T]:
    """Return this rank's part of a sequence, as ``own_part``."""
    return items[own_part(len(items))]


def total(value: Tensor) -> Tensor:
    """Return the sum of the ranks' tensors, which have one shape; not differentiable."""
    if not _joined():
        return value.detach()
    value = value.detach().clone()
    dist.all_reduce(value)
    return value


def gather(value: T) -> list[T]:
    """Return the values of all ranks in their order; any object that pickle can store."""
    if not _joined():
        return [value]
    values: list[T | None] = [None] * world()
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]


def from_first(value: T) -> T:
    """Return the value of the first rank."""
    return gather(value)[0]


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its sum over the ranks, in one message; a missing gradient counts as zero.

    If each rank scales the mean loss of its own episodes by its share of all of them, the result is the gradient of the
    mean loss over all.

    Args:
        parameters: the same parameters on each rank, all on one device.
    """
    if not _joined():
        return
    learnt = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in learnt:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in learnt if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def wait() -> None:
    """Wait until all ranks have come here."""
    if _joined():
        gather(None)


class Heartbeat:
    """Lets ranks that have finished wait for those that still work, however long these take.

    Each rank calls ``beat`` often while it works, and then ``finish``. A rank that does neither for longer than the
    timeout raises an error in the others.

    Args:
        interval: seconds between two messages; less than the timeout.
    """

    def __init__(self, interval: float = 5.0) -> None:
        self.interval = interval
        self._last = time.monotonic()

    def beat(self) -> None:
        """Tell the others that this rank is working, if the last time is long ago."""
        if _joined() and time.monotonic() - self._last >= self.interval:
            gather(False)
            self._last = time.monotonic()

    def finish(self) -> None:
        """Wait until all ranks have finished."""
        while not all(gather(True)):
            pass


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()
