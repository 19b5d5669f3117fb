"""Device and threads of a run."""

from __future__ import annotations

import re

import torch

from adafocus_rl.data.processes import is_worker
from adafocus_rl.errors import UserError


def use_threads(number: int = 0) -> None:
    """Set the number of torch threads; 0 keeps torch's default. A worker process always uses one."""
    if is_worker():
        torch.set_num_threads(1)
    elif number:
        torch.set_num_threads(number)


def find_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` is CUDA if this process can use it, else the CPU.

    A process forked from one that computes on CUDA cannot use it; a spawned process can.

    Raises:
        UserError: if the device is unknown or cannot be used here.
    """
    if name == "auto":
        usable = torch.cuda.is_available() and not torch.cuda._is_in_bad_fork()
        return torch.device("cuda" if usable else "cpu")
    try:
        # Other device names either store no numbers (`meta`) or make torch look for a module of that name.
        if not re.fullmatch(r"(cpu|cuda|mps|xpu)(:[0-9]{1,3})?", name):
            raise RuntimeError("it is none of cpu, cuda, cuda:1, mps, xpu")
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); try --device=cpu"
        ) from None
    return device
