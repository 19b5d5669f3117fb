"""Standard streams that take not everything, or nothing any more."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from rich.cells import cell_len

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.cli import entry
from adafocus_rl.experiments.terminal.command_line import print_json, print_yaml, sentence
from adafocus_rl.experiments.terminal.progress import Ticker, say
from adafocus_rl.experiments.terminal.streams import CLOSED, guarded, spelled
from adafocus_rl.experiments.terminal.tables import PlainTable, print_plain
from adafocus_rl.printable import printable

HOSTILE = "x[/y] :car: [red] $a$ \x1b[31m\x9b\x07\r\u202e\udcff.mp4"
CLEAN = r"x[/y] :car: [red] $a$ \x1b[31m\x9b\x07\r\u202e\udcff.mp4"


class Failing(io.RawIOBase):
    """A file that refuses, as a closed pipe or a full disk does."""

    made: ClassVar[list[Failing]] = []

    def __init__(self, number: int) -> None:
        self.number: int | None = number
        self.made.append(self)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.number is None:
            return len(data)
        raise OSError(self.number, os.strerror(self.number))


def failing(number: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(Failing(number)), encoding="utf-8")


def text_stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")


def content(stream: io.TextIOWrapper) -> str:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode(stream.encoding)


@pytest.fixture(autouse=True)
def _no_flush_at_exit(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A buffer that could not be written complains when it is collected, in this test or, unless mended, much later."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    yield
    for stream in Failing.made:
        stream.number = None
    Failing.made.clear()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "utf-8", "utf-16"])
def test_every_encoding(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    out, err = text_stream(encoding), text_stream(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with guarded():
        table = PlainTable("λ × π′ – …")
        table.column("agent", "λ")
        table.row(HOSTILE, "猫")
        table.print()
        print_plain(f"→ {HOSTILE}", style="bold")
        print_json({"name": HOSTILE, "λ": "猫"})
        say(HOSTILE)
        sentence(f"{HOSTILE}\n  and more")
        with Ticker(HOSTILE, 1) as ticker:
            ticker.advance(1, HOSTILE)
        sys.stderr.write(warnings.formatwarning(HOSTILE, UserWarning, "file.py", 1))
    assert (out.errors, err.errors) == ("strict", "strict")
    printed, said = content(out), content(err)
    assert printed.count(CLEAN) == 2
    assert said.count(CLEAN) == 5
    assert f"adafocus: {CLEAN} and more\n" in said
    assert not {"\x1b", "\x9b", "\x07", "\r", "\u202e"} & {*printed, *said}
    document = printed[printed.index("{\n") :]
    assert document.isascii()
    assert json.loads(document) == {"name": HOSTILE, "λ": "猫"}
    lines = [line for line in printed.splitlines() if line.startswith(("┃", "│", "|"))]
    assert len({cell_len(line) for line in lines}) == 1, lines


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("name", ["λ × 猫", "gpj\u202e\x1b\x9b.mp4", "plain"])
def test_yaml_can_be_read_back(monkeypatch: pytest.MonkeyPatch, encoding: str, name: str) -> None:
    out = text_stream(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    with guarded():
        print_yaml({"name": name})
    printed = content(out)
    assert yaml.safe_load(printed) == {"name": name}
    assert printed == printable(printed.rstrip("\n")) + "\n"
    assert (name in printed) == (name == "plain" or (name == "λ × 猫" and encoding == "utf-8"))


def test_spelling() -> None:
    assert spelled("π′ at λ × 2, 猫", "ascii") == r"pi' at lambda x 2, \u732b"
    assert spelled("π′ at λ × 2, 猫", "latin-1") == r"pi' at lambda × 2, \u732b"
    assert spelled("π′ at λ × 2, 猫", "utf-8") == "π′ at λ × 2, 猫"


def test_stderr_may_fail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (errno.EPIPE, errno.ENOSPC, errno.EIO):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", failing(number))
            assert entry.main(["list", "--json"]) == 0
            assert entry.main(["nonsense"]) == 2
        assert "agents" in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "arguments", [["list"], ["list", "--json"], ["--help"], ["data", "make", "--help"], ["--version"]]
)
def test_stdout_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", failing(errno.EPIPE))
    assert entry.main(arguments) == CLOSED
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stdout", failing(errno.ENOSPC))
    assert entry.main(arguments) == UserError.exit_code
    said = capsys.readouterr().err
    assert said.startswith(f"adafocus: standard output cannot be written ({os.strerror(errno.ENOSPC)})")
    assert said.count("\n") == 1


def test_no_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert entry.main(["list"]) == 0
    assert entry.main(["nonsense"]) == 2
    assert (sys.stdout, sys.stderr) == (None, None)


def test_a_long_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["evaluate", "run" * 1_000_000]) == 2
    said = capsys.readouterr().err
    assert said.startswith("adafocus: ")
    assert len(said) < 1100


def narrow(monkeypatch: pytest.MonkeyPatch, columns: str) -> list[str]:
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    for name, value in {"COLUMNS": columns, "NO_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    table = PlainTable("validation")
    table.column("agent", right=False)
    table.column("λ", "top-1 %", "GMACs/video", "of f_L", "ms/video")
    table.row("PPO, with a name that is long", "0.005", "81.3", "0.01374", "0.00796", "12.1")
    table.print()
    return re.sub(r"\x1b\[\d*m", "", out.getvalue()).splitlines()


def test_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = narrow(monkeypatch, "100")
    assert [cell.strip() for cell in wide[2].split("┃")] == [
        "", "agent", "λ", "top-1 %", "GMACs/video", "of f_L", "ms/video", ""
    ]  # fmt: skip
    stacked = narrow(monkeypatch, "40")
    assert stacked == [
        "validation",
        "PPO, with a name that is long",
        "  λ: 0.005",
        "  top-1 %: 81.3",
        "  GMACs/video: 0.01374",
        "  of f_L: 0.00796",
        "  ms/video: 12.1",
    ]
    for columns in ("0", "1"):
        assert max(map(len, narrow(monkeypatch, columns))) <= 20


@pytest.mark.skipif(os.name != "posix", reason="a shell's pipes")
def test_a_shells_pipes(tmp_path: Path) -> None:
    """What only a process of its own shows: the interpreter's last words, and files that get a stream's number."""
    script = "\n".join(
        f'{line}; echo "${{PIPESTATUS[0]}}" >&3'
        for line in (
            "adafocus --help | true",
            "adafocus --version > /dev/full",
            "adafocus --help 2>&1 >&- | cat >&2",
            "adafocus nonsense 2>&-",
            "adafocus nonsense 2> /dev/full",
            "adafocus --version >&- 2>&- <&-",
            "adafocus",
        )
    )
    if not Path("/dev/full").exists():
        script = script.replace("> /dev/full", ">&-")
    command = f'adafocus() {{ "{sys.executable}" -m adafocus_rl "$@"; }}; exec 3>&1 >/dev/null\n{script}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=100)
    codes = done.stdout.split()
    full = "2" if Path("/dev/full").exists() else "0"
    assert codes == [str(CLOSED), full, "0", "2", "2", "0", "2"], done.stderr
    said = done.stderr.splitlines()
    assert len(said) == 1 + (full == "2"), said
    assert all(line.startswith("adafocus: ") for line in said)
