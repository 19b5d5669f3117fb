"""Software versions and hardware of a run."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

from adafocus_rl.experiments.run.versions import installed_version

ALLOCATOR = (
    "LD_PRELOAD",
    "GLIBC_TUNABLES",
    "MALLOC_ARENA_MAX",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
)
"""Variables that set how memory is allocated, on which the speed of large activations depends."""


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment() -> dict[str, Any]:
    """Return the software versions and hardware that results may depend on."""
    packages = ("adafocus_rl", "torch", "torchvision", "gymnasium", "numpy", "opencv-python", "av")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        "allocator": {name: os.environ[name] for name in ALLOCATOR if name in os.environ},
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {name: installed_version(name) for name in packages},
    }
