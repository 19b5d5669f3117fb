"""How sure a comparison is: interquartile means, and bootstrap intervals over seeds and videos.

Two things are drawn by chance in every comparison: the seeds that agents were trained with, and the videos they were
measured on. An interval over seeds alone says nothing of other videos; one over videos alone hides how much training
varies. Here both are resampled at once, all seeds on the same resampled videos, as they are in truth.

Source: Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice" (interquartile
mean, stratified bootstrap); Owen 2007, "The pigeonhole bootstrap" (resampling rows and columns independently).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from adafocus_rl.seeding import derive_seed

Array = npt.NDArray[Any]

CHUNK_ENTRIES = 1 << 22
"""Entries of the table of resampled videos held at once; bounds memory, whatever the number of videos."""


def interquartile_mean(values: Array, axis: int = -1) -> Array:
    """Mean of the middle half: the lowest and the highest ⌊n/4⌋ of n values are left out.

    With fewer than 4 values it is the mean.

    Args:
        values: any shape; at least one entry along the axis.
        axis: the axis to go along, which the result lacks.

    Raises:
        ValueError: nothing to take the mean of.
    """
    from scipy.stats import trim_mean  # slow to import

    values = np.asarray(values, dtype=np.float64)
    if values.shape[axis] == 0:
        raise ValueError("there is no value along the axis; expected at least one")
    return np.asarray(trim_mean(values, 0.25, axis=axis))


def bootstrap(
    scores: Mapping[str, Array],
    strata: Array,
    *,
    groups: Array | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Array]:
    """Interquartile means over seeds of mean scores over videos, as other seeds and other videos might have given them.

    In every resample, S seeds are drawn from the S there are, and from each stratum (class) as many videos as it has,
    with replacement; or as many groups of videos, each with all its videos. The videos of a resample are the same for
    all rows of the result, so that the differences of two entries are differences on the same videos; their seeds are
    drawn independently. One entry's numbers do not depend on which others are there.

    Args:
        scores: by name, (S, N) score of each video (in columns) with each seed (in rows); S may differ.
        strata: (N,) the class of each video; only equality matters.
        groups: (N,) which videos are alike (one scene, one speaker) and so come or go together; only equality within a
            stratum matters. None where each stands for itself.
        resamples: R, at least 1.
        seed: of all draws.

    Returns:
        By name, (R,) float64.

    Raises:
        ValueError: shapes do not fit, or there is no seed, video or resample.
    """
    strata = np.asarray(strata)
    tables = {name: np.asarray(table, dtype=np.float64) for name, table in scores.items()}
    if strata.ndim != 1 or len(strata) == 0 or resamples < 1:
        raise ValueError(f"strata have shape {strata.shape} for {resamples} resamples; expected (N,) and at least 1")
    groups = np.arange(len(strata)) if groups is None else np.asarray(groups)
    if groups.shape != strata.shape:
        raise ValueError(f"groups have shape {groups.shape}; expected {strata.shape}")
    for name, table in tables.items():
        if table.ndim != 2 or table.shape[1] != len(strata) or len(table) == 0:
            raise ValueError(f"scores of {name!r} have shape {table.shape}; expected (S, {len(strata)})")
    videos = _generator(seed, "videos")
    seeds = {name: _generator(seed, f"seeds of {name}") for name in tables}
    found: dict[str, list[Array]] = {name: [] for name in tables}
    rows = max(1, CHUNK_ENTRIES // len(strata))
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        weights = _video_weights(strata, groups, count, videos)
        for name, table in tables.items():
            means = weights @ table.T / weights.sum(1, keepdims=True)
            drawn = seeds[name].integers(len(table), size=means.shape)
            found[name].append(interquartile_mean(np.take_along_axis(means, drawn, axis=1), axis=1))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def percentile_interval(samples: Array, confidence: float = 0.95) -> tuple[float, float]:
    """The central interval that holds this share of the samples.

    Args:
        samples: (R,) of a bootstrap.
        confidence: share in (0, 1).

    Returns:
        Its lower and its upper end.
    """
    outside = (1 - confidence) / 2
    low, high = np.quantile(np.asarray(samples), (outside, 1 - outside))
    return float(low), float(high)


def _video_weights(strata: Array, groups: Array, resamples: int, draw: np.random.Generator) -> Array:
    """(R, N) float64: how often each video is in each resample; every stratum keeps its number of groups."""
    weights = np.empty((resamples, len(strata)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        names, group = np.unique(groups[members], return_inverse=True)
        times = draw.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
        weights[:, members] = times[:, group]
    return weights


def _generator(seed: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, "bootstrap", purpose))
