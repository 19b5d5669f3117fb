"""A job of several processes ends with one message, in whichever order its processes find what ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from adafocus_rl.experiments.cli.entry import main
from adafocus_rl.experiments.terminal import launcher

MISTAKE = ("-m", "adafocus_rl", "evaluate", "run")
SAID = "adafocus: `adafocus evaluate` runs in one process; start it without torchrun\n"

INTERRUPTED_END = """
import os, signal, sys
from adafocus_rl import ranks
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.cli import entry
from adafocus_rl.experiments.cli.joined import joined
from adafocus_rl.ranks.job import Job

explained = Job.explained

def interrupted(job, error):
    os.kill(os.getpid(), signal.SIGTERM)
    return explained(job, error)

def train(argv):
    with joined("cpu", timeout=20, arguments=["train"]):
        if argv[0] == "other":
            ranks.group._job.store.set("reporter", "1")
        raise UserError("the mistake")

Job.explained = interrupted
entry._command = lambda first: train
sys.exit(entry.process())
"""
"""A job whose launcher terminates it while it finds out which process reports its end."""


@contextmanager
def rank(number: int, *arguments: str, port: int = 0) -> Iterator[subprocess.Popen[str]]:
    ranked = {
        "RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test",
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.PIPE, text=True, env=os.environ | ranked)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_first_process_reports_a_mistake_of_all_at_once() -> None:
    with rank(0, *MISTAKE) as process:
        assert process.communicate() == (None, SAID)
        assert process.returncode == 2


def test_another_process_waits_until_the_launcher_ends_it() -> None:
    with rank(1, *MISTAKE) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3.0)
        process.terminate()
        assert process.communicate() == (None, "")
        assert process.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)


def test_a_mistake_that_the_first_process_does_not_find_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(launcher, "PATIENCE", 0.3)
    began = time.monotonic()
    assert main(["evaluate", "run"]) == 2
    assert time.monotonic() - began >= 0.3
    assert capsys.readouterr().err == SAID


def test_a_process_that_is_terminated_before_the_others_are_known_is_silent() -> None:
    slow = "import os, signal, sys; from adafocus_rl.experiments.cli import entry\n"
    slow += "entry._command = lambda first: lambda argv: os.kill(os.getpid(), signal.SIGTERM)\n"
    slow += "sys.exit(entry.process())"
    with rank(0, "-c", slow, "train", "any") as process:
        assert process.communicate() == (None, "")
        assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize(("reporter", "said"), [("this", "adafocus: the mistake\n"), ("other", "")])
def test_the_launcher_cannot_interrupt_the_end(reporter: str, said: str) -> None:
    with rank(0, "-c", INTERRUPTED_END, "train", reporter) as process:
        assert process.communicate() == (None, said)
        assert process.returncode == 2


STUCK = """
import atexit, sys, time
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.cli import entry
from adafocus_rl.experiments.terminal import launcher

def train(argv):
    atexit.register(time.sleep, 1000)
    launcher.report_here()
    launcher.gpu_may_wait()
    if argv[0] == "exit":
        raise SystemExit(7)
    raise UserError("the mistake") if argv[0] == "mistake" else ZeroDivisionError("the bug")

entry._command = lambda first: train
sys.exit(entry.process())
"""
"""A process that would not end by itself, because its GPU waits for another."""


@pytest.mark.parametrize(
    ("kind", "code", "said"), [("mistake", 2, "adafocus: the mistake"), ("exit", 7, ""), ("bug", 1, "the bug")]
)
def test_a_process_whose_gpu_may_wait_ends_at_once(kind: str, code: int, said: str) -> None:
    with rank(0, "-c", STUCK, "train", kind) as process:
        _, err = process.communicate(timeout=60)
        assert process.returncode == code
        assert said in err
