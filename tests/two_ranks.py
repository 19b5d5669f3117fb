"""Runs a function in the processes of one job, as ``torchrun`` does, and returns what each returns."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import torch.multiprocessing as mp

from adafocus_rl import ranks


def on_ranks(function: Callable[..., Any], *args: Any, world: int = 2, timeout: float = 60.0) -> list[Any]:
    """Return the results of ``function(*args)``, by rank.

    Args:
        function: a function that a process can import.
        args: what it is called with, on each rank.
        world: number of ranks.
        timeout: seconds that a rank waits for the others.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    queue = mp.get_context("spawn").SimpleQueue()
    mp.spawn(_rank, (world, port, timeout, queue, function, args), nprocs=world)
    results = dict(queue.get() for _ in range(world))
    return [results[number] for number in range(world)]


def _rank(
    number: int, world: int, port: int, timeout: float, queue: Any, function: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    os.environ |= {
        "RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test",
    }  # fmt: skip
    with ranks.process_group(cuda=False, timeout=timeout):
        queue.put((number, function(*args)))
        ranks.wait()
