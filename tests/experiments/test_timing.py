"""Times per video: the rows take turns, so that a machine that becomes slower slows all of them alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.experiments.evaluation import timing
from adafocus_rl.experiments.evaluation.timing import ROUNDS, time_in_turns
from adafocus_rl.experiments.report.rows import Row
from adafocus_rl.experiments.report.table import result_notes, result_table

CPU = torch.device("cpu")


def _clips(count: int) -> list[ClipBatch]:
    return [ClipBatch.unlabelled(torch.zeros(1, 2, 3, 4, 4), 2, rows=torch.tensor([row])) for row in range(count)]


class Machine:
    """A clock that only calls advance, and that slows down a bit after each clip."""

    def __init__(self) -> None:
        self.now, self.log = 0.0, list[tuple[str, int]]()

    def call(self, name: str, seconds: float) -> Callable[[ClipBatch], None]:
        def run(clip: ClipBatch) -> None:
            self.log.append((name, int(clip.rows)))
            # Both calls of a clip are equally slow: the machine is so busy for as long as their turn lasts.
            self.now += seconds * (1 + (len(self.log) - 1) // 2)

        return run


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: machine.now)
    return machine


def test_calls_take_turns_on_each_clip_and_slow_down_alike(machine: Machine) -> None:
    calls = [machine.call("a", 0.001), machine.call("b", 0.003)]
    a, b = time_in_turns(calls, _clips(4), device=CPU)
    turns = [machine.log[at : at + 2] for at in range(0, len(machine.log), 2)]
    assert [{name for name, _ in turn} for turn in turns] == [{"a", "b"}] * 4 * (1 + ROUNDS)
    assert [turn[0][1] for turn in turns] == [turn[1][1] for turn in turns] == [*range(4)] * (1 + ROUNDS)
    assert {turn[0][0] for turn in turns} == {"a", "b"}, "not always in the same order"
    # Turns 5 to 16 take 5 to 16 times as long; those before warm the machine up.
    assert a is not None
    assert b is not None
    assert (a.q1, a.median, a.q3) == pytest.approx((7.75, 10.5, 13.25))
    assert (b.q1, b.median, b.q3) == pytest.approx((3 * 7.75, 3 * 10.5, 3 * 13.25))


def test_nothing_to_time() -> None:
    assert time_in_turns([lambda clip: None] * 2, [], device=CPU) == [None, None]


def test_the_table_shows_the_spread_and_says_what_is_in_it() -> None:
    options: dict[str, Any] = {
        "top1": 0.5, "top1_standard_error": 0.1, "map": 0.5, "gmacs_per_video": 1.0, "local_gmacs_per_video": 0.5,
        "videos": 4, "reference": False,
    }  # fmt: skip
    timed = Row(agent="a", ms_per_video=2.345, ms_q1=2.04, ms_q3=2.96, **options)
    old, untimed = Row(agent="b", ms_per_video=1.0, **options), Row(agent="c", **options)
    table = result_table([timed, old, untimed])
    place = table.heads.index("ms/video")
    assert [row[place].text for row in table.rows] == ["2.3 (2.0–3.0)", "1.0", "–"]
    assert "Decoding is not included; it took 12.3 ms per clip in one process." in result_notes([timed], 12.34)[-1]
    assert "Decoding is not included. GMACs are counted, times are measured" in result_notes([timed])[-1]
    assert not any("Decoding" in note for note in result_notes([untimed], 12.34))
