"""Progress without a terminal: lines with the time left and the loss, more and more rarely; times in words."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.terminal import progress
from adafocus_rl.experiments.terminal.progress import Ticker, duration, say, silent
from adafocus_rl.experiments.training import divergence
from adafocus_rl.experiments.training.divergence import READ_SECONDS, Watch


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(progress, "time", found)
    monkeypatch.setattr(divergence, "time", found)
    return found


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (99, "99 s"), (100, "2 min"), (3540, "59 min"), (3590, "1 h"), (7800, "2 h 10 min"),
        (86340, "23 h 59 min"), (86399, "1 d"), (3.2 * 86400, "3 d 5 h"),
    ],
)  # fmt: skip
def test_times_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_line_now_and_then(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Ticker("stage1", 1000) as ticker:
        ticker.skip(400)  # done before, in no time
        for _ in range(100):
            clock.seconds += 1
            ticker.advance(running="loss now 0.500")
        ticker.advance(0, "loss 0.7 top-1 0.2")
        clock.seconds += 100
        ticker.advance(100)
        clock.seconds += 1
        ticker.advance(400)
    lines = capsys.readouterr().err.splitlines()
    # 100 steps in 100 s: a line each time that more than 10 s have passed, then one after 100 s; and the end.
    assert lines[0] == "stage1: 411/1000, loss now 0.500, 10 min left"
    assert len(lines) == 9 + 1 + 1
    assert lines[-2] == "stage1: 600/1000 loss 0.7 top-1 0.2, loss now 0.500, 7 min left"
    assert lines[-1] == "stage1: 1000/1000 loss 0.7 top-1 0.2"


def test_lines_of_a_long_job_are_rare(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Ticker("stage1", 10_000_000) as ticker:
        for _ in range(14 * 1440):  # two weeks
            clock.seconds += 60
            ticker.advance()
    # One every 1 % more until they come every ten minutes, which takes 16 hours; then 144 a day.
    assert 13 * 130 < len(capsys.readouterr().err.splitlines()) < 14 * 144 + 400


def test_the_time_left_of_a_long_epoch(clock: Clock) -> None:
    ticker = Ticker("stage2", 10)
    assert ticker.seconds_left(clock.seconds) is None
    clock.seconds += 50
    ticker.advance()
    assert ticker.seconds_left(clock.seconds) == 450
    ticker.to(10, 10)
    assert ticker.seconds_left(clock.seconds) is None


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    with silent():
        say("nothing")
        with Ticker("nothing", 1) as ticker:
            ticker.advance()
    say("something")
    assert capsys.readouterr().err == "something\n"


def test_losses_are_read_now_and_then(clock: Clock, recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading waits for the device, so that a step that is fast has none of it."""
    from adafocus_rl.experiments.config.parser import parse_settings
    from adafocus_rl.experiments.run.run import Run

    run = Run(RunFolder(recipe.parent / "none"), parse_settings("test", ["--config", str(recipe)]).config)
    read: list[int] = []
    ticker = Ticker("stage1", 100)
    watch = Watch(run, "stage1", 0, ticker)
    plain = watch.read
    monkeypatch.setattr(watch, "read", lambda: (read.append(ticker.count), plain()))
    for step in range(30):
        clock.seconds += 0.4 * READ_SECONDS if step >= 20 else 0.001
        watch(loss=torch.tensor(float(step)))
    # 20 fast steps are not read; then every third.
    assert read == [23, 26, 29]
    assert ticker.running == "loss now 27.000"  # of steps 26 to 28, counted from 0
