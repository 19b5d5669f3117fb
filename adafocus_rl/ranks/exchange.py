"""What the ranks of a job compute together; with one rank, every function returns its argument."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from adafocus_rl.ranks.group import gloo, is_first, joined, rank, world

T = TypeVar("T")


def own_part(count: int) -> slice:
    """Return this rank's part of ``count`` items; the parts of the ranks follow one another and differ by at most 1."""
    return _part(count, rank())


def part_sizes(count: int) -> list[int]:
    """Return the number of items in each rank's part of ``count``."""
    parts = [_part(count, number) for number in range(world())]
    return [part.stop - part.start for part in parts]


def own(items: Sequence[T]) -> Sequence[T]:
    """Return this rank's part of a sequence, as ``own_part``."""
    return items[own_part(len(items))]


def total(value: Tensor) -> Tensor:
    """Return the sum of the ranks' tensors, which have one shape; not differentiable."""
    if joined() is None:
        return value.detach()
    value = value.detach().clone()
    _all_reduce(value)
    return value


def added(value: Tensor) -> Tensor:
    """Return the sum of the ranks' tensors like ``total``, with a gradient.

    If each rank scales its loss by its share of the batch and the gradients are summed, a loss of a statistic of the
    whole batch has the gradient that it has in one process.
    """
    if joined() is None:
        return value
    result: Tensor = _Added.apply(value)
    return result


class _Added(torch.autograd.Function):
    """A sum over the ranks; the gradient of each summand is the sum of the ranks' gradients."""

    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        return total(value)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return total(gradient)


def counts(own: int) -> list[int]:
    """Return a number of each rank, in their order.

    Args:
        own: that of this rank.
    """
    found = torch.zeros(world(), dtype=torch.int64)
    found[rank()] = own
    numbers: list[int] = total(found).tolist()
    return numbers


def join(rows: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
    """Return the rows of all ranks in their order, on this rank's device; each rank may have another number of them.

    Args:
        rows: (n, …) numbers, with the same further axes on each rank.
        lengths: n of each rank, if it is known, which saves a message.
    """
    if joined() is None:
        return rows
    if rows.dtype == torch.bool:
        return join(rows.byte(), lengths).bool()
    lengths = counts(len(rows)) if lengths is None else lengths
    start = sum(lengths[: rank()])
    every = rows.new_zeros(sum(lengths), *rows.shape[1:])
    every[start : start + len(rows)] = rows.detach()
    return total(every)


def gather(value: T) -> list[T]:
    """Return the values of all ranks in their order; any object that pickle can store."""
    if joined() is None:
        return [value]
    wait()
    values: list[T | None] = [None] * world()
    dist.all_gather_object(values, value, group=gloo())
    return values  # type: ignore[return-value]


def from_first(value: T) -> T:
    """Return the value of the first rank."""
    return gather(value)[0]


def first(function: Callable[[], T]) -> T:
    """Let the first rank do something alone, such as writing a file, and return its result on every rank.

    It begins when all ranks have come here, and they go on when it has ended, however long it takes. Within the
    function, the job has one rank.

    Args:
        function: called on the first rank only; pickle must be able to store its result.
    """
    job = joined()
    if job is None:
        return function()
    wait()
    value: T | None = None
    if is_first():
        with job.busy():
            job.alone = True
            try:
                value = function()
            finally:
                job.alone = False
    return from_first(value)  # type: ignore[return-value]


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its sum over the ranks, in one message.

    If each rank scales the mean loss of its own episodes by its share of all of them, the result is the gradient of the
    mean loss over all. A gradient that is missing on some ranks counts as zero there; if it is missing on all, it stays
    missing.

    Args:
        parameters: the same parameters on each rank, all on one device and of one type.
    """
    if joined() is None:
        return
    learnt = [parameter for parameter in parameters if parameter.requires_grad]
    present = [parameter.grad is not None for parameter in learnt]
    parts = [torch.zeros_like(each) if each.grad is None else each.grad for each in learnt]
    flags = parts[0].new_ones(len(parts))
    for number, found in enumerate(present):
        if not found:
            flags[number] = 0  # a kernel, where a copy of the list would wait for the GPU
    flat = torch.cat([part.reshape(-1) for part in (*parts, flags)])
    _all_reduce(flat)
    *sums, users = flat.split([*(part.numel() for part in parts), len(parts)])
    if not all(present):  # asked here only, because a GPU has to be waited for
        present = [bool(number) for number in users.tolist()]
    for parameter, part, wanted in zip(learnt, sums, present, strict=True):
        if wanted:
            parameter.grad = part.view_as(parameter)


def copy_first(parameters: Iterable[nn.Parameter]) -> None:
    """Give all ranks the first rank's weights: after the same updates, those of another kind of processor may differ in
    their last digits.
    """
    if joined() is None:
        return
    weights = [parameter.detach() for parameter in parameters]
    flat = torch.cat([weight.reshape(-1) for weight in weights])
    _all_reduce(flat if is_first() else flat.zero_())
    for weight, part in zip(weights, flat.split([weight.numel() for weight in weights]), strict=True):
        weight.copy_(part.view_as(weight))


def wait() -> None:
    """Wait until all ranks have come here."""
    if joined() is not None:
        _all_reduce(torch.zeros(1))


@contextlib.contextmanager
def exchanging(device: torch.device) -> Iterator[None]:
    """Tell that sums over the ranks are computed in the block, which this process or its GPU waits for.

    Args:
        device: where this rank computes; on a CPU, nothing has to be told.
    """
    job = joined()
    if job is None or device.type != "cuda":
        yield
        return

    def record() -> Callable[[], bool]:
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(device))
        done: Callable[[], bool] = event.query
        return done

    with job.exchanging(record):
        yield


def _all_reduce(value: Tensor) -> None:
    """Replace a tensor by the sum of the ranks' tensors."""
    if value.device.type == "cpu":
        job = joined()
        assert job is not None
        job.wait_for(dist.all_reduce(value, group=gloo(), async_op=True))
    else:
        with exchanging(value.device):
            dist.all_reduce(value)


def _part(count: int, number: int) -> slice:
    return slice(count * number // world(), count * (number + 1) // world())
