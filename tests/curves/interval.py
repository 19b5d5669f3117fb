"""Prediction intervals: where the curves of one further seed fall."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

STORED = Path(__file__).with_name("curves.json")

FALSE_ALARMS = 0.05
"""Bound of the probability that a sound run of another seed is outside any interval, if the quantities of a run are
normally distributed over seeds."""

Curves = dict[str, list[float]]
Interval = tuple[float, float]


def quantities(curves: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return one number for each curve, its mean over the second half of the epochs."""
    return {name: statistics.fmean(curve[len(curve) // 2 :]) for name, curve in curves.items()}


def prediction_interval(values: Sequence[float], false_alarms: float) -> Interval:
    """Return mean ± t · s · √(1 + 1/n), which contains a further normal value, except with this probability.

    Args:
        values: n values, at least two.
        false_alarms: probability in (0, 1).
    """
    count = len(values)
    width = float(stats.t.ppf(1 - false_alarms / 2, count - 1)) * statistics.stdev(values) * math.sqrt(1 + 1 / count)
    mean = statistics.fmean(values)
    return mean - width, mean + width


def intervals(runs: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, Interval]:
    """Return the interval of each quantity; they share ``FALSE_ALARMS`` (Bonferroni)."""
    found = [quantities(curves) for curves in runs]
    return {name: prediction_interval([one[name] for one in found], FALSE_ALARMS / len(found[0])) for name in found[0]}


def outside(curves: Mapping[str, Sequence[float]], within: Mapping[str, Interval]) -> list[str]:
    """Return the quantities of a run that are outside their intervals, as sentences."""
    return [
        f"{name} is {value:.4g}; expected {within[name][0]:.4g} to {within[name][1]:.4g}"
        for name, value in quantities(curves).items()
        if not within[name][0] <= value <= within[name][1]
    ]


def stored() -> dict[str, Any]:
    """Return the content of ``curves.json``."""
    content: dict[str, Any] = json.loads(STORED.read_text(encoding="utf-8"))
    return content
