"""Memory and disk that a process uses, and what is free."""

from __future__ import annotations

import gc
import shutil
import sys
from pathlib import Path

import torch


class PeakMemory:
    """The most memory that this process has used.

    Args:
        device: device that computes; on CUDA, its memory counts from now on, else the process's since it began.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def read(self) -> int | None:
        """Return the bytes; None if the platform does not tell them."""
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        try:
            import resource
        except ImportError:  # Windows
            return None
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def release(device: torch.device) -> None:
    """Give memory that nothing uses any more back to the device, where the size of what is free decides about banks."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def free_disk(path: Path) -> int:
    """Return the free bytes on the disk on which a folder is, or will be made."""
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free
