"""The programs of docs/libraries.md run, as far as their libraries are installed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "libraries.md").read_text(encoding="utf-8")
NEEDS = {
    "CleanRL": (),
    "Stable-Baselines3": ("stable_baselines3",),
    "sb3-contrib": ("sb3_contrib",),
    "TorchRL": ("torchrl",),
    "skrl": ("skrl",),
    "Tianshou": ("tianshou",),
}
"""Modules that the program under each heading imports beside what ``adafocus_rl`` requires."""

PROGRAMS = {
    section.partition("\n")[0]: program
    for section in PAGE.split("\n## ")[1:]
    for program in re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
}
"""The program under each heading."""


def test_every_program_is_known() -> None:
    assert {*PROGRAMS} == {*NEEDS}


@pytest.mark.slow
@pytest.mark.parametrize("name", NEEDS)
def test_a_program_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in NEEDS[name]:
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "program"}
    exec(compile(PROGRAMS[name], name, "exec"), names)
