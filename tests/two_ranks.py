"""Runs a function in the processes of one job, as ``torchrun`` does, and returns what each returns."""

from __future__ import annotations

import os
import pickle
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
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
    # In files, because a pipe would block a rank with a long result until it is read.
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_rank, (world, port, timeout, folder, function, args), nprocs=world)
        return [pickle.loads(Path(folder, str(number)).read_bytes()) for number in range(world)]  # noqa: S301


def _rank(
    number: int, world: int, port: int, timeout: float, folder: str, function: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    os.environ |= {
        "RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test",
    }  # fmt: skip
    with ranks.process_group(cuda=False, timeout=timeout):
        Path(folder, str(number)).write_bytes(pickle.dumps(function(*args)))
        ranks.wait()
