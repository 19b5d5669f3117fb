"""Free memory of a device, which decides whether a bank is held in memory."""

from __future__ import annotations

from pathlib import Path

import torch

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def free_memory(device: torch.device) -> int:
    """Return the number of free bytes on a device; 0 if the platform does not report it.

    On CPU, file caches count as free, and a container's own limit applies if it is lower, because a process that
    exceeds it is killed however much memory the machine has.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return 0
    try:
        available = _fields(MEMINFO)["MemAvailable"] * 1024
    except (OSError, KeyError, ValueError):
        return 0
    try:
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text()) - _fields(CGROUP / "memory.stat")["file"]
    except (OSError, KeyError, ValueError):  # no container, or "max": no limit
        return available
    return max(0, min(available, limit - used))


def _fields(path: Path) -> dict[str, int]:
    """Parse lines of ``name value`` or ``name: value kB``."""
    rows = (line.split() for line in path.read_text().splitlines())
    return {row[0].rstrip(":"): int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
