"""The job of this process: joining the other ranks, and what this rank knows of itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]

from adafocus_rl.errors import UserError
from adafocus_rl.ranks.gpu_watch import LIMIT, GpuWatch, end_process
from adafocus_rl.ranks.job import DAY, Job, ignore_interrupts

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


def joined() -> Job | None:
    """Return the job if this process communicates now: there are others, and it is neither a fork nor alone."""
    return _job if _job is not None and _job.here and _job.world > 1 else None


def gloo() -> dist.ProcessGroup | None:
    """Return the group of all ranks for tensors on the CPU."""
    return _group
