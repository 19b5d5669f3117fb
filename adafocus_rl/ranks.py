"""The processes of one job that ``torchrun`` starts: the rank of this process, and what the ranks compute together.

Without ``torchrun``, and with one process of it, a job has one rank, and every function here returns its argument
without communication. All ranks must call a function that communicates, in the same order. A rank waits for the others
as long as they give signs of life (``beat``): a rank that hangs or has ended raises an error in those that wait for it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]

from adafocus_rl.errors import UserError
from adafocus_rl.gpu_watch import LIMIT, GpuWatch, end_process
from adafocus_rl.rank_job import DAY, Job, ignore_interrupts

T = TypeVar("T")

_job: Job | None = None
_group: dist.ProcessGroup | None = None
"""Gloo's group of all ranks, for tensors on the CPU. It has no time limit of its own: see ``Job.wait_for``."""


@contextlib.contextmanager
def process_group(
    *, cuda: bool, timeout: float, end: Callable[[BaseException], NoReturn] = end_process
) -> Iterator[None]:
    """Join the job's other ranks within the block; without ``torchrun``, do nothing.

    If the block raises an error, the first rank to do so raises it, and the others, which end with it, exit silently.

    Args:
        cuda: whether the ranks compute on GPUs of their own (NCCL) or on CPUs (Gloo).
        timeout: seconds without a sign of life after which a rank is given up.
        end: ends this process for an error, if its GPU waits for a rank that is lost; see ``GpuWatch``.

    Raises:
        UserError: if the others cannot be reached.
        RankError: if another rank hangs, or has ended without a message.
        SilentExit: if another rank has reported the job's end.
    """
    global _job, _group
    if not launched():
        yield
        return
    limit = timedelta(seconds=timeout)
    try:
        store, number, world = next(rendezvous("env://"))
        _job = Job(PrefixStore("adafocus", store), number, world, timeout)
        if cuda:
            torch.cuda.set_device(local_rank())
            # Otherwise torch ends the process for an error of NCCL's, before a message can say which rank is lost.
            os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
        dist.init_process_group(
            # Objects and barriers go over Gloo, gradients and batch statistics over the backend of their device.
            "cpu:gloo,cuda:nccl" if cuda else "gloo",
            store=PrefixStore("default", store), rank=number, world_size=world,
            timeout=max(limit, timedelta(seconds=LIMIT)) if cuda else limit,
        )  # fmt: skip
        _group = dist.new_group(backend="gloo", timeout=DAY)  # type: ignore[assignment]
    except (RuntimeError, ValueError) as error:
        _job = None
        raise UserError(
            f"this process cannot reach the job's other ranks ({str(error).splitlines()[0]}); start them all with "
            "`torchrun --nproc-per-node N -m adafocus_rl train …`"
        ) from None
    watch = GpuWatch(_job, end, device=local_rank()) if cuda else contextlib.nullcontext()
    try:
        with watch:
            yield
    except BaseException as error:
        ignore_interrupts()
        explained = _job.explained(error)
        if explained is error:
            raise
        raise explained from None
    else:
        dist.destroy_process_group()
    finally:
        _job = _group = None


def launched() -> bool:
    """Return whether ``torchrun`` started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


def beat() -> None:
    """Tell the other ranks that this one goes on. A loop whose steps may take longer than the timeout calls it."""
    if _job is not None:
        _job.beat()


def busy() -> contextlib.AbstractContextManager[None]:
    """Return a context in which this rank goes on by definition: for long work of others' code, which cannot hang."""
    return contextlib.nullcontext() if _job is None else _job.busy()


def rank() -> int:
    """Return the number of this process, from 0."""
    return _job.number if _job is not None and not _job.alone else 0


def world() -> int:
    """Return the number of ranks."""
    return _job.world if _job is not None and not _job.alone else 1


def local_rank() -> int:
    """Return the number of this process on its machine, which is also that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0")) if launched() else 0


def local_world() -> int:
    """Return the number of ranks on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if launched() else 1


def is_first() -> bool:
    """Return whether this is the rank that writes files and messages."""
    return rank() == 0


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
    if not _joined():
        return value.detach()
    value = value.detach().clone()
    _all_reduce(value)
    return value


def added(value: Tensor) -> Tensor:
    """Return the sum of the ranks' tensors like ``total``, with a gradient.

    If each rank scales its loss by its share of the batch and the gradients are summed, a loss of a statistic of the
    whole batch has the gradient that it has in one process.
    """
    if not _joined():
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
    if not _joined():
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
    if not _joined():
        return [value]
    wait()
    values: list[T | None] = [None] * world()
    dist.all_gather_object(values, value, group=_group)
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
    if not _joined():
        return function()
    wait()
    value: T | None = None
    if is_first():
        assert _job is not None
        with _job.busy():
            _job.alone = True
            try:
                value = function()
            finally:
                _job.alone = False
    return from_first(value)  # type: ignore[return-value]


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its sum over the ranks, in one message.

    If each rank scales the mean loss of its own episodes by its share of all of them, the result is the gradient of the
    mean loss over all. A gradient that is missing on some ranks counts as zero there; if it is missing on all, it stays
    missing.

    Args:
        parameters: the same parameters on each rank, all on one device and of one type.
    """
    if not _joined():
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
    if not _joined():
        return
    weights = [parameter.detach() for parameter in parameters]
    flat = torch.cat([weight.reshape(-1) for weight in weights])
    _all_reduce(flat if is_first() else flat.zero_())
    for weight, part in zip(weights, flat.split([weight.numel() for weight in weights]), strict=True):
        weight.copy_(part.view_as(weight))


def wait() -> None:
    """Wait until all ranks have come here."""
    if _joined():
        _all_reduce(torch.zeros(1))


@contextlib.contextmanager
def exchanging(device: torch.device) -> Iterator[None]:
    """Tell that sums over the ranks are computed in the block, which this process or its GPU waits for.

    Args:
        device: where this rank computes; on a CPU, nothing has to be told.
    """
    if not _joined() or device.type != "cuda":
        yield
        return

    def record() -> Callable[[], bool]:
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(device))
        done: Callable[[], bool] = event.query
        return done

    assert _job is not None
    with _job.exchanging(record):
        yield


def _all_reduce(value: Tensor) -> None:
    """Replace a tensor by the sum of the ranks' tensors."""
    if value.device.type == "cpu":
        assert _job is not None
        _job.wait_for(dist.all_reduce(value, group=_group, async_op=True))
    else:
        with exchanging(value.device):
            dist.all_reduce(value)


def _part(count: int, number: int) -> slice:
    return slice(count * number // world(), count * (number + 1) // world())


def _joined() -> bool:
    return _job is not None and _job.here and _job.world > 1
