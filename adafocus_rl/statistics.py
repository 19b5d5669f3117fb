"""Uncertainty of a comparison: interquartile means, and bootstrap intervals over seeds and videos.

Every comparison has two sources of randomness: the seeds of training, and the videos of the evaluation. An interval
over seeds alone says nothing about other videos; one over videos alone hides the variance of training. Here both are
resampled together, and all seeds use the same resampled videos, as in the evaluation itself.

Source: Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice" (interquartile
mean, stratified bootstrap); Owen 2007, "The pigeonhole bootstrap" (resampling rows and columns independently).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from adafocus_rl.seeding import derive_seed

Array = npt.NDArray[Any]

CHUNK_ENTRIES = 1 << 22
"""Largest number of entries of the table of resampled videos held at once; bounds memory for any number of videos."""


def interquartile_mean(values: Array, axis: int = -1) -> Array:
    """Return the mean of n values without the lowest and the highest ⌊n/4⌋; for fewer than 4 values, the plain mean.

    Args:
        values: any shape, with at least one entry along the axis.
        axis: the axis to reduce.

    Raises:
        ValueError: the axis is empty.
    """
    from scipy.stats import trim_mean  # slow to import

    values = np.asarray(values, dtype=np.float64)
    if values.shape[axis] == 0:
        raise ValueError("there is no value along the axis; expected at least one")
    return np.asarray(trim_mean(values, 0.25, axis=axis))


def standard_error(values: Array, groups: Array | Sequence[str] | None = None) -> float:
    """Return the standard error of the mean of N values, such as the share of its visits in which each video was hit.

    For zeros and ones with mean p, this is √(p(1 − p) / N). Values of one group, such as videos of one scene, may be
    alike: the sums of the deviations within each group are then squared, instead of single deviations.

    Args:
        values: (N,), at least one.
        groups: (N,) group of each value; only equality matters. None makes each value its own group.

    Raises:
        ValueError: the shapes do not match, or there is no value.
    """
    values = np.asarray(values, dtype=np.float64)
    groups = np.arange(len(values)) if groups is None else np.asarray(groups)
    if values.ndim != 1 or len(values) == 0 or groups.shape != values.shape:
        raise ValueError(f"values have shape {values.shape} and groups {groups.shape}; expected (N,), N at least 1")
    _, group = np.unique(groups, return_inverse=True)
    deviations = np.bincount(group, weights=values - values.mean())
    return float(np.sqrt(np.square(deviations).sum()) / len(values))


def bootstrap(
    scores: Mapping[str, Array],
    strata: Array,
    *,
    groups: Array | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Array]:
    """Return bootstrap distributions of the interquartile mean, over seeds, of the mean score over videos.

    Each resample draws S of the S seeds with replacement, and from each stratum (class) as many videos as it has, or as
    many groups with all their videos. All entries of ``scores`` share the resampled videos, so differences between two
    entries are differences on the same videos; their seeds are drawn independently. The result of an entry does not
    depend on the other entries.

    Args:
        scores: by name, (S, N) scores of each video (columns) for each seed (rows); S may differ between entries.
        strata: (N,) class of each video; only equality matters.
        groups: (N,) group of each video, such as a scene or a speaker, resampled as a whole; only equality within a
            stratum matters. None makes each video its own group.
        resamples: R, at least 1.
        seed: seed of all draws.

    Returns:
        By name, (R,) float64.

    Raises:
        ValueError: the shapes do not match, or there is no seed, video or resample.
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
    """Return the central interval that contains this share of the samples.

    Args:
        samples: (R,) bootstrap samples.
        confidence: share in (0, 1).

    Returns:
        The lower and the upper end.
    """
    outside = (1 - confidence) / 2
    low, high = np.quantile(np.asarray(samples), (outside, 1 - outside))
    return float(low), float(high)


def _video_weights(strata: Array, groups: Array, resamples: int, draw: np.random.Generator) -> Array:
    """Return how often each video is in each resample, (R, N) float64; each stratum keeps its number of groups."""
    weights = np.empty((resamples, len(strata)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        names, group = np.unique(groups[members], return_inverse=True)
        times = draw.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
        weights[:, members] = times[:, group]
    return weights


def _generator(seed: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, "bootstrap", purpose))
