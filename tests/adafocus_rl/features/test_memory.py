from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from adafocus_rl import ranks
from adafocus_rl.features import memory


def test_a_container_s_limit_holds_where_it_is_the_tighter_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    cpu = torch.device("cpu")
    assert memory.free_memory(cpu) == 0  # a platform that does not tell
    (tmp_path / "meminfo").write_text("MemTotal:       9000 kB\nMemAvailable:    8000 kB\nHugePages_Total:       0\n")
    assert memory.free_memory(cpu) == 8000 * 1024
    (tmp_path / "memory.current").write_text("3000000\n")
    (tmp_path / "memory.stat").write_text("anon 1000000\nfile 2000000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory(cpu) == 8000 * 1024
    (tmp_path / "memory.max").write_text("5000000\n")
    assert memory.free_memory(cpu) == 5_000_000 - 1_000_000
    (tmp_path / "memory.max").write_text("500000\n")
    assert memory.free_memory(cpu) == 0


@pytest.mark.parametrize("version", [1, 2])
def test_a_batch_system_s_limit_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    """Slurm limits a group above that of the process, and the group of the whole machine has no limit."""
    for name in ("MEMINFO", "GROUPS"):
        monkeypatch.setattr(memory, name, tmp_path / name)
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    (tmp_path / "MEMINFO").write_text("MemAvailable:    8000 kB\n")
    (tmp_path / "GROUPS").write_text(
        "9:cpu:/elsewhere\n4:memory:/slurm/job/step\n" if version == 1 else "0::/slurm/job/step\n"
    )
    root = tmp_path / "memory" if version == 1 else tmp_path
    limit, used, cache, none = (
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache", "9223372036854771712")
        if version == 1
        else ("memory.max", "memory.current", "file", "max")
    )
    for folder, most in (
        (root, none),
        (root / "slurm", none),
        (root / "slurm/job", "5000000"),
        (root / "slurm/job/step", none),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / limit).write_text(f"{most}\n")
        (folder / used).write_text("3000000\n")
        (folder / "memory.stat").write_text(f"{cache} 2000000\n")
    assert memory.free_memory(torch.device("cpu")) == 5_000_000 - 1_000_000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("name", ["RLIMIT_DATA", "RLIMIT_AS"])
def test_a_limit_of_the_shell_holds(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    import resource

    real, wanted = resource.getrlimit, getattr(resource, name)
    used = memory._fields(memory.STATUS)["VmData" if name == "RLIMIT_DATA" else "VmSize"] * 1024
    limit = used + (64 << 20)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limit, limit) if kind == wanted else real(kind))
    assert abs(memory.free_memory(torch.device("cpu")) - (64 << 20)) < 16 << 20


def test_ranks_share_the_memory_of_their_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "MEMINFO")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    (tmp_path / "MEMINFO").write_text("MemAvailable:    8000 kB\n")
    monkeypatch.setattr(ranks, "local_world", lambda: 4)
    assert memory.free_memory(torch.device("cpu")) == 2000 * 1024
