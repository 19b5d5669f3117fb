"""A sound training of another seed falls into the stored intervals, and one with a fault does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from adafocus_rl.agents.ppo import agent as ppo
from curves.interval import FALSE_ALARMS, intervals, outside, prediction_interval, quantities, stored
from curves.training import LOGGED, Curves, recipe, train

FRESH = 11
"""A seed that is not among the stored ones."""


def test_an_interval_of_two_values_by_hand() -> None:
    """With one degree of freedom, Student's t is Cauchy: its upper quartile is 1."""
    low, high = prediction_interval([1.0, 3.0], 0.5)
    assert (low, high) == pytest.approx((2 - np.sqrt(2) * np.sqrt(1.5), 2 + np.sqrt(2) * np.sqrt(1.5)))


def test_false_alarms_are_as_rare_as_stated() -> None:
    """Six normal values, of which the last is to fall into the interval of the others."""
    draws = np.random.default_rng(0).normal(3, 2, size=(4000, 6))
    missed = 0
    for values in draws.tolist():
        low, high = prediction_interval(values[:5], 0.1)
        missed += not low <= values[5] <= high
    # A standard deviation of the share is 0.005.
    assert missed / len(draws) == pytest.approx(0.1, abs=4 * 0.005)


def test_a_curve_counts_by_the_second_half_of_its_epochs() -> None:
    runs = [{"loss": [9.0, 5.0, 1.0 + step, 2.0 + step], "top1": [0.5 + 0.1 * step]} for step in range(3)]
    assert quantities(runs[0]) == {"loss": 1.5, "top1": 0.5}
    within = intervals(runs)
    assert within["loss"] == prediction_interval([1.5, 2.5, 3.5], FALSE_ALARMS / 2)
    assert outside(runs[0], within) == []
    assert outside({**runs[0], "loss": [0.0, 0.0, 1e3, 1e3]}, within)[0].startswith("loss is 1000; expected ")


def test_the_stored_intervals_are_those_of_the_stored_curves() -> None:
    content = stored()
    curves = content["curves"]
    assert curves.keys() == {*LOGGED, "gain over random patches", "top1"}
    count = len(content["seeds"])
    assert count >= 5
    assert FRESH not in content["seeds"]
    runs = [{name: each[number] for name, each in curves.items()} for number in range(count)]
    for name, found in intervals(runs).items():
        assert found == pytest.approx(tuple(content["intervals"][name]), abs=1e-4)
    assert [outside(run, intervals(runs)) for run in runs] == [[]] * count


# ---- trainings ------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Curves]:
    """The recipe, and the run of another seed with its curves."""
    folder = tmp_path_factory.mktemp("curves")
    path = recipe(folder)
    return path, folder / "run", train(path, folder / "run", seed=FRESH)


@pytest.mark.slow
@pytest.mark.long
def test_another_seed_falls_into_the_intervals(fresh: tuple[Path, Path, Curves]) -> None:
    assert outside(fresh[2], stored()["intervals"]) == []


def _other_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    returns = ppo.discounted_returns
    monkeypatch.setattr(ppo, "discounted_returns", lambda reward, gamma: returns(-reward, gamma))


def _neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    advantage = ppo.PPOAgent._advantage

    def of_the_video_before(own: ppo.PPOAgent, reward: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        found, target = advantage(own, reward, value)
        return found.roll(1, 0), target

    monkeypatch.setattr(ppo.PPOAgent, "_advantage", of_the_video_before)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    "fault", [_other_sign, _neighbour], ids=["returns of the other sign", "advantages of the video before"]
)
def test_a_fault_falls_out_of_the_intervals(
    fresh: tuple[Path, Path, Curves],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[pytest.MonkeyPatch], None],
) -> None:
    """Stages II and III done again. A fault of the crops would not do: π learns around it."""
    path, run, _ = fresh
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    with monkeypatch.context() as patch:
        fault(patch)
        curves = train(path, copy, seed=FRESH, stages=(2, 3))
    found = {sentence.split(" is ")[0] for sentence in outside(curves, stored()["intervals"])}
    assert {"stage2 reward"} <= found
