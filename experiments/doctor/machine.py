"""The machine: processor, GPUs, memory, threads, allocator, and folders that are written to."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.run.environment import ALLOCATOR, cores
from adafocus_rl.experiments.run.shipped import CACHE, cache_folder
from adafocus_rl.features.memory import free_memory

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables that set the number of threads."""

ALLOCATORS = ("jemalloc", "tcmalloc", "mimalloc")
"""Allocators that replace that of the C library when they are loaded before it."""

SHARED = Path("/dev/shm")
"""Where decoding processes leave clips for the training process, on Linux."""


def devices() -> dict[str, Any]:
    """Return the processor, the memory and the GPUs that this process can use."""
    cuda = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return {
        "processor": _processor(),
        "cores": cores(),
        "free_memory": free_memory(torch.device("cpu")),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cuda_build": torch.version.cuda,
        "cuda": [
            {"name": one.name, "memory": one.total_memory, "capability": f"{one.major}.{one.minor}"} for one in cuda
        ],
        "nvidia_driver": shutil.which("nvidia-smi") is not None,
        "mps": torch.backends.mps.is_available(),
    }


def threads() -> dict[str, Any]:
    """Return the threads that torch uses, and the variables that set them."""
    return {
        "torch": torch.get_num_threads(),
        "variables": {name: os.environ[name] for name in THREADS if name in os.environ},
    }


def allocator() -> dict[str, Any]:
    """Return the memory allocator of this process, and the variables that set it."""
    library, number = platform.libc_ver()
    name = f"{library} {number}".strip() or f"the system's ({platform.system()})"
    if sys.platform == "linux":
        loaded = Path("/proc/self/maps").read_text(errors="replace")
        name = next((other for other in ALLOCATORS if other in loaded), name)
    return {"name": name, "variables": {key: os.environ[key] for key in ALLOCATOR if key in os.environ}}


def folders() -> dict[str, dict[str, Any]]:
    """Return the folders that are written to unasked: whether each can be, and its free bytes."""
    found = {"temporary": _state(Path(tempfile.gettempdir()))}
    if SHARED.is_dir():
        found["shared"] = _state(SHARED)
    try:
        found["cache"] = _state(cache_folder())
    except UserError as error:
        found["cache"] = {"path": "", "writable": False, "free": 0, "reason": f"{error}; set {CACHE}"}
    return found


def _state(path: Path) -> dict[str, Any]:
    """Try to write a file into a folder, or into the nearest one above it that exists."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=there) as file:
            file.write(b"x")
        reason = ""
    except OSError as error:
        reason = error.strerror or str(error)
    return {"path": str(path), "writable": not reason, "free": shutil.disk_usage(there).free, "reason": reason}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()
