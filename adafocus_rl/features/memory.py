"""Free memory of a device, which decides whether a bank is held in memory."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from adafocus_rl import ranks

MEMINFO = Path("/proc/meminfo")
STATUS = Path("/proc/self/status")
GROUPS = Path("/proc/self/cgroup")
CGROUP = Path("/sys/fs/cgroup")

NAMES = {
    "": ("memory.max", "memory.current", "file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache"),
}
"""Files of a group's limit and use, and the entry of ``memory.stat`` for file caches, by controllers in GROUPS.

Version 2 has one tree without a name, version 1 one for each resource.
"""


def free_memory(device: torch.device) -> int:
    """Return the number of free bytes on a device; 0 if the platform does not report it.

    On CPU, file caches count as free, and the limits of containers, of batch systems and of ``ulimit -d`` apply if they
    are lower, because a process that exceeds one is killed however much memory the machine has. Ranks on one machine
    share its memory.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return 0
    try:
        free = [_fields(MEMINFO)["MemAvailable"] * 1024, *_free_in_groups()]
    except (OSError, KeyError, ValueError):
        return 0
    return max(0, min([min(free) // ranks.local_world(), *_free_in_limits()]))


def _free_in_groups() -> Iterator[int]:
    """Yield the free bytes in each control group of this process that has a limit, from its own to the root."""
    try:
        lines = GROUPS.read_text().splitlines()
    except OSError:
        lines = ["0::/"]
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if controllers not in NAMES:
            continue
        root, (limit, used, cache) = CGROUP / controllers, NAMES[controllers]
        # Within a container, the path may be that outside of it.
        group = root / own.lstrip("/")
        for folder in (group, *group.parents):
            with contextlib.suppress(OSError, KeyError, ValueError):  # no such group, or "max": no limit
                taken = int((folder / used).read_text()) - _fields(folder / "memory.stat")[cache]
                yield int((folder / limit).read_text()) - taken
            if folder == root:
                break


def _free_in_limits() -> Iterator[int]:
    """Yield the free bytes within each limit of ``ulimit`` on memory."""
    if sys.platform == "win32":
        return
    import resource

    for limit, used in ((resource.RLIMIT_DATA, "VmData"), (resource.RLIMIT_AS, "VmSize")):
        most, _ = resource.getrlimit(limit)
        if most != resource.RLIM_INFINITY:
            with contextlib.suppress(OSError, KeyError, ValueError):
                yield most - _fields(STATUS)[used] * 1024


def _fields(path: Path) -> dict[str, int]:
    """Parse lines of ``name value`` or ``name: value kB``."""
    rows = (line.split() for line in path.read_text().splitlines())
    return {row[0].rstrip(":"): int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
