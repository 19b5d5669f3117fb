"""Summarise the result files of trainings, in one row per variant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from adafocus_rl.data.index import VideoIndex
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare.training import Training
from adafocus_rl.experiments.report.rows import RANDOM, Row
from adafocus_rl.files import read_json
from adafocus_rl.record import RANDOM_PATCHES
from adafocus_rl.statistics import Array, bootstrap, interquartile_mean, percentile_interval, standard_error

RESAMPLES = 2000
CONFIDENCE = 0.95

Results = Mapping[str, Sequence[Mapping[str, Any]]]
"""Contents of the result files, one per seed, by variant."""


@dataclass(frozen=True, kw_only=True)
class ComparedRow(Row):
    """One row of compare.json: a row of results averaged over seeds, with its uncertainty.

    ``agent`` is the variant's name, ``variant`` names the f_C: that of stage I, or one fine-tuned to this agent with
    this seed. ``top1``, ``map`` and the compute are means over seeds, and no milliseconds are measured.

    Attributes:
        label: the method's label: ``ppo``, ``random``.
        seeds: number of seeds that the row counts for; a deterministic agent has the same result for all.
        trainings: number of seeds that were actually run: 1 for an agent that neither learns nor samples.
        top1_iqm: interquartile mean over seeds of ``top1``.
        top1_low: lower end of the 95 % bootstrap interval of ``top1_iqm``, over seeds and videos (or groups of videos).
        top1_high: its upper end.
        over_seeds: whether this interval covers variation of the seeds; with one training of an agent that learns or
            samples, it covers videos only.
        difference: ``top1_iqm`` minus that of the first row with the same f_C.
        difference_low: lower end of its interval, with both rows on the same resampled videos.
        difference_high: its upper end.
        difference_over_seeds: whether this interval covers variation of the seeds, as the intervals of both rows do.
        reward_mean: mean over seeds of an episode's sum of rewards, for the best actions on the validation videos with
            this row's f_C; None for a row copied from the run.
        seconds: mean time of a training (of the fine-tuning alone if that is the last step), on one thread; None for a
            row copied from the run.
        top1_by_run: ``top1`` on the videos of each run; one entry if there is one run.
    """

    label: str
    seeds: int
    trainings: int
    top1_iqm: float
    top1_low: float
    top1_high: float
    over_seeds: bool
    difference: float
    difference_low: float
    difference_high: float
    difference_over_seeds: bool
    reward_mean: float | None
    seconds: float | None
    top1_by_run: list[float]

    @property
    def is_random(self) -> bool:
        """Whether the row's patches are random; ``agent`` may be any name."""
        return self.label == RANDOM


def read_results(trainings: Sequence[Training], f_c: str, index: VideoIndex) -> dict[str, list[dict[str, Any]]]:
    """Read the existing result files of an f_C, by variant, and add the ``groups`` of their videos.

    Args:
        trainings: trainings of one run.
        f_c: ``random patches`` or ``fine-tuned``.
        index: the run's validation videos.

    Raises:
        UserError: if a file is damaged.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for training in trainings:
        path = training.result(f_c)
        if f_c in training.variants and path.is_file():
            result = _read_result(path, len(index))
            result["groups"] = index.groups(result["videos"])
            found.setdefault(training.name, []).append(result)
    return found


def _read_result(path: Path, videos: int) -> dict[str, Any]:
    """Read a training's result file.

    Raises:
        UserError: if it is damaged.
    """
    advice = "delete it and run the same command again, which makes it anew"
    try:
        found = read_json(path, "result file")
    except UserError as error:
        raise UserError(f"{str(error).removesuffix('; check the file')}; {advice}") from None
    if wrong := _wrong_entry(found, videos):
        raise UserError(f"the result file {path} has no usable {wrong}; {advice}")
    result: dict[str, Any] = found
    return result


def _wrong_entry(found: Any, videos: int) -> str | None:
    """Return the name of the first entry that is missing or malformed; None if all are valid."""
    if not isinstance(found, dict):
        return "object"
    for name in ("top1", "map", "gmacs_per_video", "local_gmacs_per_video", "seconds"):
        if not _is_number(found.get(name)):
            return name
    if not (found.get("reward") is None or _is_number(found["reward"])):
        return "reward"
    for name in ("learns", "stochastic", "reference"):
        if type(found.get(name)) is not bool:
            return name
    for name in ("seed", "visits"):
        if type(found.get(name)) is not int:
            return name
    if not isinstance(found.get("videos"), list):
        return "videos"
    for name, most in (("videos", videos - 1), ("labels", 1 << 40), ("hits", found["visits"])):
        values = found.get(name)
        if not isinstance(values, list) or len(values) != len(found["videos"]) or not values:
            return name
        if not all(type(value) is int and 0 <= value <= most for value in values):
            return name
    curves = found.get("curves", {"epoch": [], "reward": [], "top1": []})
    if not isinstance(curves, dict):
        return "curves"
    for name in ("epoch", "reward", "top1"):
        values = curves.get(name)
        if not isinstance(values, list) or len(values) != len(curves["epoch"]):
            return "curves"
        if not all((value is None and name != "epoch") or _is_number(value) for value in values):
            return "curves"
    return None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def summarise(results: Results, *, f_c: str, seeds: int) -> list[ComparedRow]:
    """Return one row per variant, in the order of the variants.

    Args:
        results: results by variant, at least one seed each.
        f_c: the f_C that they were measured with; a result's own entry ``variant`` takes precedence.
        seeds: number of seeds requested; a deterministic agent counts for all of them.

    Raises:
        UserError: if the variants were measured on different videos.
    """
    if not results:
        return []
    refuse_other_videos(results)
    scores = {name: hit_rates(found) for name, found in results.items()}
    (first, *_), (base, *_) = results.values(), results
    labels = np.asarray(first[0]["labels"])
    runs = np.asarray(first[0].get("runs", np.zeros(len(labels), dtype=int)))
    strata, groups = resampled_units(first[0])
    samples = bootstrap(scores, strata, groups=groups, resamples=RESAMPLES)
    middle = {name: float(interquartile_mean(table.mean(1))) for name, table in scores.items()}
    alike = {
        name: f_c == RANDOM_PATCHES and not (found[0]["learns"] or found[0]["stochastic"])
        for name, found in results.items()
    }
    over_seeds = {name: alike[name] or len(found) > 1 for name, found in results.items()}
    rows = []
    for name, found in results.items():
        low, high = percentile_interval(samples[name], CONFIDENCE)
        less, more = percentile_interval(samples[name] - samples[base], CONFIDENCE)
        rows.append(
            ComparedRow(
                agent=found[0].get("method", name),
                variant=found[0].get("variant", f_c),
                knob=found[0].get("knob"),
                kept=mean_of_known(one.get("kept") for one in found),
                top1=float(scores[name].mean()),
                top1_standard_error=standard_error(scores[name].mean(0), groups),
                map=fmean(one["map"] for one in found),
                gmacs_per_video=fmean(one["gmacs_per_video"] for one in found),
                local_gmacs_per_video=fmean(one["local_gmacs_per_video"] for one in found),
                videos=len(labels),
                reference=found[0]["reference"],
                label=found[0].get("label", name),
                seeds=seeds if alike[name] else len(found),
                trainings=len(found),
                top1_iqm=middle[name],
                top1_low=low,
                top1_high=high,
                over_seeds=over_seeds[name],
                difference=middle[name] - middle[base],
                difference_low=less,
                difference_high=more,
                difference_over_seeds=over_seeds[name] and over_seeds[base],
                reward_mean=mean_of_known(one["reward"] for one in found),
                seconds=mean_of_known(one["seconds"] for one in found),
                top1_by_run=[float(scores[name][:, runs == run].mean()) for run in np.unique(runs)],
            )
        )
    return rows


def refuse_other_videos(results: Results) -> None:
    """Refuse results that were not all measured on the same videos.

    Raises:
        UserError: if there are such results; the message names the first.
    """
    (first, *_), (base, *_) = results.values(), results
    for name, found in results.items():
        if any(one["videos"] != first[0]["videos"] for one in found):
            raise UserError(
                f"{name!r} was measured on other videos than {base!r}: some could be decoded only once; "
                "mend them and build the banks again with `adafocus features build RUN --overwrite`"
            )


def resampled_units(result: Mapping[str, Any]) -> tuple[Array, Array | None]:
    """Return the strata and groups for ``bootstrap`` of N measured videos.

    A resample keeps the number of videos of each run and class; or, if the videos have groups, the number of groups of
    each run, because a group may have several classes.

    Args:
        result: any of the results; all are on the same videos.
    """
    labels = np.asarray(result["labels"])
    runs = np.asarray(result.get("runs", np.zeros(len(labels), dtype=int)))
    if result.get("groups"):  # groups of two runs are different groups, even with the same name
        return runs, np.asarray([f"{run} {group}" for run, group in zip(runs, result["groups"], strict=True)])
    return np.unique(np.stack((runs, labels)), axis=1, return_inverse=True)[1].reshape(-1), None


def curves(results: Results) -> dict[str, list[dict[str, Any]]]:
    """Return the learning curves of variants that learn, one per seed: ``seed``, ``epoch``, ``reward``, ``top1``."""
    found = {
        name: [{"seed": one["seed"], **one["curves"]} for one in entries if one.get("curves", {}).get("epoch")]
        for name, entries in results.items()
    }
    return {name: lines for name, lines in found.items() if lines}


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are not None; None if there are none."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def hit_rates(found: Sequence[Mapping[str, Any]]) -> Array:
    """Return (S, N): for each seed, the share of its visits in which each video was recognised."""
    return np.stack([np.asarray(one["hits"], dtype=np.float64) / one["visits"] for one in found])
