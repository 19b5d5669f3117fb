"""Signals end a command in order, and leave nothing behind in a program that has only called it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from adafocus_rl.experiments.cli import entry
from adafocus_rl.experiments.terminal.interrupts import SIGNALS, interruptible

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@POSIX
@pytest.mark.parametrize(
    ("name", "code", "what"),
    [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated"), ("SIGHUP", 129, "the terminal was closed")],
)
@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["train", "x"], "; the same command with --resume goes on"),
        (["train", "x", "--overwrite"], "; the same command with --resume in the place of --overwrite goes on"),
        (["compare", "x"], "; the same command goes on"),
        (["features", "build", "x"], "; the same command goes on"),
        (["predict", "x"], ""),
    ],
)
def test_a_signal(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    code: int,
    what: str,
    arguments: list[str],
    hint: str,
) -> None:
    before = [signal.getsignal(getattr(signal, one)) for one in SIGNALS]

    def command(_: Sequence[str]) -> int:
        signal.raise_signal(getattr(signal, name))
        time.sleep(10)
        return 0

    monkeypatch.setattr(entry, "_command", lambda first: command)
    assert entry.main(arguments) == code
    assert capsys.readouterr().err == f"adafocus: {what}{hint}\n"
    assert [signal.getsignal(getattr(signal, one)) for one in SIGNALS] == before


@POSIX
def test_others_decisions_stay() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGHUP)
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGHUP, ignored)


WORKERS = """
import multiprocessing, sys, time
from adafocus_rl.experiments.cli import entry

def sleep(begun):
    begun.wait()
    time.sleep(60)

def command(arguments):
    fork = multiprocessing.get_context("fork")
    begun = fork.Barrier(3)
    workers = [fork.Process(target=sleep, args=(begun,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    begun.wait()  # a signal that reaches a fork before Python has set itself up there is lost
    try:
        print("ready", *(worker.pid for worker in workers), flush=True)
        time.sleep(60)
    finally:
        print("cleaning", flush=True)
        for worker in workers:
            worker.join() if sys.argv[1] == "hang" else worker.terminate()

entry._command = lambda first: command
sys.exit(entry.process())
"""


def _start(*arguments: str) -> tuple[Any, list[int]]:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKERS, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    return process, [int(pid) for pid in process.stdout.readline().split()[1:]]


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _wait_gone(pids: Sequence[int]) -> bool:
    until = time.monotonic() + 10
    while not all(map(_gone, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return all(map(_gone, pids))


@POSIX
def test_ctrl_c_reaches_the_workers_of_a_terminal() -> None:
    process, workers = _start("train")
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == "adafocus: interrupted; the same command with --resume goes on\n"
    assert _wait_gone(workers)


@POSIX
def test_a_second_one_ends_at_once() -> None:
    process, workers = _start("hang")
    os.kill(process.pid, signal.SIGTERM)
    assert process.stdout.readline() == "cleaning\n"
    os.kill(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 143
    assert said == "adafocus: ended at once\n"
    assert _wait_gone(workers)


@POSIX
def test_while_processes_render_videos(tmp_path: Path) -> None:
    options = ["--train_videos=9999", "--val_videos=1", "--still_videos=0", "--frames=2", "--side=32", "--digit=10"]
    process = subprocess.Popen(
        [sys.executable, "-m", "adafocus_rl", "data", "make", "moving_digits", str(tmp_path / "digits"), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 60
    while not list(tmp_path.glob(".digits.partial-*/train/*.mp4")) and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (143, "adafocus: terminated\n")
    assert not list(tmp_path.iterdir())
