"""How much memory there is to spare, which decides whether a bank is held whole."""

from __future__ import annotations

from pathlib import Path

import torch

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def free_memory(device: torch.device) -> int:
    """Bytes that can be taken on a device; 0 where the platform does not tell.

    On CPU, file caches count as free, and a container's own limit holds where it is the tighter one: beyond it the
    process is killed, whatever the machine still has.
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
    """Lines of ``name value`` or ``name: value kB``."""
    rows = (line.split() for line in path.read_text().splitlines())
    return {row[0].rstrip(":"): int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
