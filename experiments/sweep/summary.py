"""Summarise the results of a sweep: one row per system, variant and operating point, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from adafocus_rl.experiments.compare.summary import (
    CONFIDENCE,
    RESAMPLES,
    hit_rates,
    mean_of_known,
    refuse_other_videos,
    resampled_units,
)
from adafocus_rl.experiments.report.rows import Row
from adafocus_rl.experiments.sweep.jobs import Entry
from adafocus_rl.experiments.sweep.times import SystemTimes
from adafocus_rl.record import RANDOM_DECISIONS
from adafocus_rl.statistics import Array, bootstrap, interquartile_mean, percentile_interval, standard_error


@dataclass(frozen=True, kw_only=True)
class SystemRow(Row):
    """One system at one operating point, over all seeds.

    ``top1`` is the interquartile mean over seeds, which for fewer than four seeds is the mean; the other metrics are
    means over seeds.

    Attributes:
        name: name of the system; ``agent`` is its label.
        knob_name: name of its knob.
        seeds: number of trainings.
        low: lower end of the 95 % bootstrap interval of ``top1``, over seeds and videos (or groups of videos).
        high: its upper end.
        over_seeds: whether this interval covers variation of the seeds; with one training, it covers videos only.
        difference: ``top1`` minus that of the random counterpart, seed by seed on the same videos; None without one.
        difference_low: lower end of its 95 % interval.
        difference_high: its upper end.
    """

    name: str
    knob_name: str
    seeds: int
    low: float
    high: float
    over_seeds: bool
    difference: float | None
    difference_low: float | None
    difference_high: float | None

    @property
    def is_counterpart(self) -> bool:
        """Whether this is a random counterpart."""
        return self.variant == RANDOM_DECISIONS

    def point_of_curve(self) -> dict[str, Any]:
        """Return the row as an entry of ``curves``."""
        plain = self.plain()
        first = ("knob", "top1", "map", "gmacs_per_video", "ms_per_video", "low", "high", "seeds", "variant")
        return {name: plain[name] for name in (*first, *sorted(plain.keys() - {*first, "agent"}))}


Key = tuple[str, str | None, float | None]
"""Name of the system, variant, and knob."""


def summarise_systems(entries: Sequence[Entry], times: SystemTimes, groups: Sequence[str] | None) -> list[SystemRow]:
    """Return one row per system, variant and operating point, in the order of their first entries.

    Args:
        entries: the measured operating points of all systems and seeds.
        times: times per video by name of the system and ``str(knob)``.
        groups: group of each measured video; None if the list has none.

    Raises:
        UserError: if the systems were measured on different videos.
    """
    found: dict[Key, list[Entry]] = {}
    for entry in entries:
        found.setdefault((entry["name"], entry["variant"], entry["knob"]), []).append({**entry, "groups": groups})
    if not found:
        return []
    titles = {key: " ".join(map(str, key)) for key in found}
    refuse_other_videos({titles[key]: some for key, some in found.items()})
    tables = {key: hit_rates(some) for key, some in found.items()}
    paired = {key: _difference(key, found) for key in found}
    scores = {titles[key]: table for key, table in tables.items()}
    scores.update({f"{titles[key]} − random": table for key, table in paired.items() if table is not None})
    strata, units = resampled_units(next(iter(found.values()))[0])
    samples = bootstrap(scores, strata, groups=units, resamples=RESAMPLES)
    rows = []
    for key, some in found.items():
        first, table, difference = some[0], tables[key], paired[key]
        spent = times.get(first["name"], {}).get(str(first["knob"]))
        low, high = percentile_interval(samples[titles[key]], CONFIDENCE)
        less = more = None
        if difference is not None:
            less, more = percentile_interval(samples[f"{titles[key]} − random"], CONFIDENCE)
        rows.append(
            SystemRow(
                agent=first["label"],
                name=first["name"],
                variant=first["variant"],
                knob=first["knob"],
                knob_name=first["knob_name"],
                kept=mean_of_known(one["kept"] for one in some),
                top1=_middle(table),
                top1_standard_error=standard_error(table.mean(0), units),
                map=fmean(one["map"] for one in some),
                gmacs_per_video=fmean(one["gmacs_per_video"] for one in some),
                local_gmacs_per_video=fmean(one["local_gmacs_per_video"] for one in some),
                **({} if spent is None else spent.entries()),
                videos=table.shape[1],
                reference=first["reference"],
                seeds=len(some),
                low=low,
                high=high,
                over_seeds=len(some) > 1 or not first["varies"],
                difference=None if difference is None else _middle(difference),
                difference_low=less,
                difference_high=more,
            )
        )
    return rows


def _difference(key: Key, found: Mapping[Key, Sequence[Entry]]) -> Array | None:
    """Return (S, N) hit rates minus those of the random counterpart with the same seed; None without one."""
    name, variant, knob = key
    other = {entry["seed"]: entry for entry in found.get((name, RANDOM_DECISIONS, knob), ())}
    pairs = [(entry, other[entry["seed"]]) for entry in found[key] if entry["seed"] in other]
    if variant == RANDOM_DECISIONS or not pairs:
        return None
    return hit_rates([one for one, _ in pairs]) - hit_rates([one for _, one in pairs])


def _middle(table: Array) -> float:
    return float(interquartile_mean(table.mean(1)))
