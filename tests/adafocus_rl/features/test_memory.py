from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adafocus_rl.features import memory


def test_a_container_s_limit_holds_where_it_is_the_tighter_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
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
