"""``make test-matrix``: which environments there are, and what it says of one that fails or cannot be made."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests import matrix

ROOT = Path(__file__).parents[1]


def test_the_rows_are_the_pythons_that_are_promised() -> None:
    promised = re.findall(r"Programming Language :: Python :: (3\.\d+)", (ROOT / "setup.cfg").read_text())
    assert {row.python for row in matrix.ROWS} == {*promised}
    assert len({row.name for row in matrix.ROWS}) == len(matrix.ROWS)


def fake_tools(folder: Path, monkeypatch: pytest.MonkeyPatch, *, make: str) -> None:
    for name, text in {"make": make, "python3.12": 'shift; eval "exit 0"', "python3.13": "exit 127"}.items():
        tool = folder / name
        tool.write_text(f"#!/bin/sh\n{text}\n")
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("make", "code", "said"),
    [
        ('echo "== 3 passed, 1 skipped in 2.00s =="', 0, "| 3 passed, 1 skipped (no environment) |"),
        ('echo "== 1 failed, 2 passed in 2.00s =="; exit 2', 1, "| **failed**: 1 failed, 2 passed (no environment) |"),
        ("echo no such version; exit 2", 1, "| **failed**: the installation failed (no environment) |"),
    ],
)
def test_what_the_table_says(
    make: str, code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_tools(tmp_path, monkeypatch, make=make)
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    assert matrix.main(["--only", "py3.12", "py3.13"]) == code
    written = capsys.readouterr().out
    assert said in written
    assert "| py3.13 | the versions of constraints.txt | skipped: no python3.13 here | 0 |" in written


def test_arguments_reach_make_and_pytest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tools(tmp_path, monkeypatch, make=f'printf "%s\\n" "$@" > {tmp_path}/arguments; echo "1 passed in 1s"')
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    assert matrix.main(["--only", "torch2.11", "--", "-m", "not slow"]) == 0
    given = (tmp_path / "arguments").read_text().splitlines()
    assert "CONSTRAINTS=" in given
    assert "PACKAGES=torch==2.11.* torchvision==0.26.*" in given
    assert "TEST_ARGS=-n 2 '-m' 'not slow'" in given


def test_the_command() -> None:
    done = subprocess.run([sys.executable, ROOT / "tests" / "matrix.py", "--list"], capture_output=True, text=True)
    assert done.stdout.count("\n") == len(matrix.ROWS)
