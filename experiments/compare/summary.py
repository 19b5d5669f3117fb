"""From the result files of trainings to one row per variant."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare.training import Training
from adafocus_rl.statistics import Array, bootstrap, interquartile_mean, percentile_interval

RESAMPLES = 2000
CONFIDENCE = 0.95

Results = Mapping[str, Sequence[Mapping[str, Any]]]
"""Contents of the result files by variant, one per seed."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of compare.json.

    Attributes:
        agent: the variant's name.
        after_stage: 2 for the f_C of stage I, 3 for one fine-tuned to this agent with this seed.
        seeds: seeds that the row stands for; all of them are alike if it is deterministic.
        trainings: seeds that were really run: 1 of an agent that neither learns nor draws.
        top1_mean: mean over seeds of the share of validation videos recognised, in [0, 1].
        top1_iqm: interquartile mean over seeds of the same.
        top1_low: lower end of the 95 % bootstrap interval of ``top1_iqm``, over seeds and videos.
        top1_high: its upper end.
        difference: ``top1_iqm`` minus that of the first row of the same stage.
        difference_low: lower end of its interval, both rows on the same resampled videos.
        difference_high: its upper end.
        map_mean: mean over seeds of mean average precision, in [0, 1].
        gmacs_per_video: 10⁹ multiply-accumulates of a video, policy and f_C included, mean over seeds.
        local_gmacs_per_video: those of f_L.
        reference: whether the agent sees true boxes or labels, which no agent in use can.
        seconds: mean time of a training (stage III's for ``after_stage`` 3), on one thread.
        videos: number of videos.
    """

    agent: str
    after_stage: int
    seeds: int
    trainings: int
    top1_mean: float
    top1_iqm: float
    top1_low: float
    top1_high: float
    difference: float
    difference_low: float
    difference_high: float
    map_mean: float
    gmacs_per_video: float
    local_gmacs_per_video: float
    reference: bool
    seconds: float
    videos: int


def read_results(trainings: Sequence[Training], stage: int) -> dict[str, list[dict[str, Any]]]:
    """The result files there are after stage II or III, by variant."""
    found: dict[str, list[dict[str, Any]]] = {}
    for training in trainings:
        path = training.result(stage)
        if stage in training.stages and path.is_file():
            found.setdefault(training.name, []).append(json.loads(path.read_text(encoding="utf-8")))
    return found


def summarise(results: Results, *, stage: int, seeds: int) -> list[Row]:
    """Rows in the order of the variants.

    Args:
        results: by variant, at least one seed each.
        stage: 2 or 3.
        seeds: seeds asked for; a deterministic agent stands for all of them.

    Raises:
        UserError: the variants were measured on different videos.
    """
    if not results:
        return []
    scores = {name: _table(found) for name, found in results.items()}
    (first, *_), (base, *_) = results.values(), results
    strata = first[0]["labels"]
    for name, found in results.items():
        if any(one["videos"] != first[0]["videos"] for one in found):
            raise UserError(
                f"{name!r} was measured on other videos than {base!r}: some could be decoded only once; "
                "mend them and build the banks again with `adafocus features build RUN --overwrite`"
            )
    samples = bootstrap(scores, np.asarray(strata), resamples=RESAMPLES)
    middle = {name: float(interquartile_mean(table.mean(1))) for name, table in scores.items()}
    rows = []
    for name, found in results.items():
        low, high = percentile_interval(samples[name], CONFIDENCE)
        less, more = percentile_interval(samples[name] - samples[base], CONFIDENCE)
        alike = stage == 2 and not (found[0]["learns"] or found[0]["stochastic"])
        rows.append(
            Row(
                agent=name,
                after_stage=stage,
                seeds=seeds if alike else len(found),
                trainings=len(found),
                top1_mean=float(scores[name].mean()),
                top1_iqm=middle[name],
                top1_low=low,
                top1_high=high,
                difference=middle[name] - middle[base],
                difference_low=less,
                difference_high=more,
                map_mean=fmean(one["map"] for one in found),
                gmacs_per_video=fmean(one["gmacs_per_video"] for one in found),
                local_gmacs_per_video=fmean(one["local_gmacs_per_video"] for one in found),
                reference=found[0]["reference"],
                seconds=fmean(one["seconds"] for one in found),
                videos=len(strata),
            )
        )
    return rows


def curves(results: Results) -> dict[str, list[dict[str, Any]]]:
    """By variant that learns, the learning curve of each seed: ``seed``, ``epoch``, ``reward``, ``top1``."""
    found = {
        name: [{"seed": one["seed"], **one["curves"]} for one in entries if one["curves"]["epoch"]]
        for name, entries in results.items()
    }
    return {name: lines for name, lines in found.items() if lines}


def as_plain(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as compare.json holds them."""
    return [asdict(row) for row in rows]


def _table(found: Sequence[Mapping[str, Any]]) -> Array:
    """(S, N): share of its visits in which each video was recognised, for each seed."""
    return np.stack([np.asarray(one["hits"], dtype=np.float64) / one["visits"] for one in found])
