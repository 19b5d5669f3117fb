"""Faults of the machine itself: a disk that is full or has become read-only, shared memory that is gone."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from faults.cases import Change, Whole, fresh, last_line
from faults.injection import Plan
from faults.scenarios import SCENARIOS, Corpus
from faults.server import Done, Server, serving
from faults.state import differences, state_of

TRAIN = SCENARIOS["train"]
WORKERS = "--data.workers=1"
LONGEST = 240.0
"""Seconds in which a command must have given up on shared memory, on a busy machine."""

SMALL_SHM = "mount -t tmpfs -o size=4k tmpfs /dev/shm"

Machine = Callable[[Server, Corpus, Whole, Path], list[str]]


def may_mount() -> bool:
    """Whether this process may mount file systems, also in a namespace of its own."""
    if sys.platform != "linux" or os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "nsenter", "mount"))):
        return False
    return subprocess.run(["unshare", "-m", "sh", "-c", SMALL_SHM], capture_output=True).returncode == 0


def full_disk(server: Server, corpus: Corpus, whole: Whole, folder: Path) -> list[str]:
    """A disk of half the space that a training takes; then there is more."""
    with _mounted(folder, "size=400k") as remount:
        here = fresh(corpus, TRAIN, folder)
        faults = _sentence(server.run(TRAIN.command, here), os.strerror(errno.ENOSPC))
        remount("size=64m")
        return faults + _gone_on(server, here, whole)


def read_only_disk(server: Server, corpus: Corpus, whole: Whole, folder: Path) -> list[str]:
    """A process is killed, and the disk may only be read when the next one comes."""
    with _mounted(folder, "size=64m") as remount:
        here = fresh(corpus, TRAIN, folder)
        server.run(TRAIN.command, here, _plan(folder, here, _middle(whole), "kill"))
        before = state_of(here)
        remount("ro")
        # What it prints goes beside the folder, too.
        faults = _sentence(server.run(TRAIN.again, here, beside=corpus.path.parent), os.strerror(errno.EROFS))
        faults += differences(state_of(here), before)
        remount("rw")
        return faults + _gone_on(server, here, whole)


def little_shared_memory(server: Server, corpus: Corpus, whole: Whole, folder: Path) -> list[str]:
    """A worker process has no room for a batch."""
    here = fresh(corpus, TRAIN, folder)
    with serving(prefix=_namespace(SMALL_SHM)) as (other,):
        faults = _sentence(other.run((*TRAIN.command, WORKERS), here, limit=LONGEST), "/dev/shm")
    return faults + _gone_on(server, here, whole)


def lost_shared_memory(server: Server, corpus: Corpus, whole: Whole, folder: Path) -> list[str]:
    """Shared memory goes in the middle of a training."""
    here = fresh(corpus, TRAIN, folder)
    plan = _plan(folder, here, _middle(whole), "pause")
    with serving(prefix=_namespace("true")) as (other,):
        pid = other.start((*TRAIN.command, WORKERS), here, plan)
        flag = Path(f"{plan.trace}.paused")
        until = time.monotonic() + LONGEST
        while not flag.exists() and time.monotonic() < until:
            time.sleep(0.05)
        subprocess.run(["nsenter", "-m", "-t", str(pid), "sh", "-c", SMALL_SHM], check=True)
        flag.unlink(missing_ok=True)
        faults = _sentence(other.wait(limit=LONGEST), "/dev/shm")
    return faults + _gone_on(server, here, whole)


MACHINES: dict[str, Machine] = {
    "full disk": full_disk,
    "read-only disk": read_only_disk,
    "little shared memory": little_shared_memory,
    "shared memory lost in the middle": lost_shared_memory,
}


def _sentence(done: Done, reason: str) -> list[str]:
    said = last_line(done.err)
    if done.code == 2 and "Traceback" not in done.err and said.startswith("adafocus: ") and reason in said:
        return [f"{done.left} processes were left behind"] if done.left else []
    return [f"exit code {done.code} without a sentence that says {reason!r}: {said}"]


def _gone_on(server: Server, here: Path, whole: Whole) -> list[str]:
    done = server.run(TRAIN.again, here)
    if done.code:
        return [f"going on ends with {done.code}: {last_line(done.err)}"]
    return differences(state_of(here), whole.state)


def _middle(whole: Whole) -> Change:
    """The line in the log of the first epoch of stage I: the second one is to come."""
    lines = [one for one in whole.changes if one["kind"] == "write" and str(one["path"]).endswith("metrics.jsonl")]
    return next(one for one in lines if one["stage"] == "stage1")


def _plan(folder: Path, here: Path, change: Change, action: str) -> Plan:
    trace = folder.with_name(f"{folder.name}.trace")
    trace.unlink(missing_ok=True)
    return Plan(root=str(here), trace=str(trace), at=change["number"], when="after", action=action)  # type: ignore[arg-type]


def _namespace(mount: str) -> list[str]:
    return ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "-"]


@contextlib.contextmanager
def _mounted(folder: Path, options: str) -> Iterator[Callable[[str], None]]:
    """A small disk in memory at a folder; the function gives it other options."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)

    def remount(more: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{more}", str(folder)], check=True)

    try:
        yield remount
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
