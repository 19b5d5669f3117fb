"""Device and threads of a run."""

from __future__ import annotations

import re

import torch

from adafocus_rl import ranks
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

    A process forked from one that computes on CUDA cannot use it; a spawned process can. If ``torchrun`` started this
    process, CUDA is the GPU with the number of the process on its machine.

    Raises:
        UserError: if the device is unknown or cannot be used here, or several ranks would use one GPU.
    """
    if name == "auto":
        usable = torch.cuda.is_available() and not torch.cuda._is_in_bad_fork()
        name = "cuda" if usable else "cpu"
        if not ranks.launched():
            return torch.device(name)
    if ranks.launched() and name.partition(":")[0] not in ("cpu", "cuda"):
        raise UserError(f"device is {name!r}, but several processes train on cpu or cuda only; set device to auto")
    if ranks.launched() and name.startswith("cuda"):
        if ":" in name:
            raise UserError(f"device is {name!r}, which all ranks would share; set device to cuda or auto")
        if ranks.local_world() > max(1, torch.cuda.device_count()):
            raise UserError(
                f"this machine has {torch.cuda.device_count()} GPU(s) for {ranks.local_world()} processes; give "
                "torchrun --nproc-per-node=gpu, or add --device=cpu"
            )
        name = f"cuda:{ranks.local_rank()}"
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
