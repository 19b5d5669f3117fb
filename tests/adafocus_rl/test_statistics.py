"""Interquartile means and bootstrap intervals against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from adafocus_rl import statistics
from adafocus_rl.statistics import bootstrap, interquartile_mean, percentile_interval, standard_error

RESAMPLES = 20_000


def test_the_middle_half_by_hand() -> None:
    assert interquartile_mean(np.array([100.0, 1, 2, 3, -100])) == 2
    assert interquartile_mean(np.array([9.0, 1, 2, 3, 4, 5, 6, -7])) == 3.5
    # Too few to leave any out.
    assert interquartile_mean(np.array([0.0, 0, 9])) == 3
    assert interquartile_mean(np.array([[1.0, 2], [3, 4]]), axis=0).tolist() == [2, 3]
    with pytest.raises(ValueError, match="no value"):
        interquartile_mean(np.zeros((3, 0)))


def test_the_standard_error_of_a_share() -> None:
    """Of 30 in 40, √(¾ · ¼ / 40); of mean rates over visits, their spread."""
    assert standard_error(np.arange(40) < 30) == pytest.approx(np.sqrt(0.75 * 0.25 / 40))
    assert standard_error(np.array([0.5, 0.5, 0.5])) == 0
    assert standard_error(np.array([0.25, 0.75, 0.25, 0.75])) == pytest.approx(0.25 / np.sqrt(4))
    with pytest.raises(ValueError, match="at least 1"):
        standard_error(np.zeros(0))


def test_alike_videos_of_a_group_count_as_one() -> None:
    """Forty copies of each of five values have the standard error of the five."""
    values = np.array([1.0, 0, 1, 1, 0])
    copies, groups = np.repeat(values, 40), np.repeat(list("abcde"), 40)
    assert standard_error(copies, groups) == pytest.approx(standard_error(values))
    assert standard_error(copies) == pytest.approx(standard_error(values) / np.sqrt(40))


def test_one_seed_is_a_binomial_over_videos() -> None:
    """One stratum of 40 videos, 30 of them right: the number right in a resample is Binomial(40, 3/4)."""
    found = bootstrap({"a": np.arange(40)[None] < 30}, np.zeros(40), resamples=RESAMPLES)["a"]
    assert found.shape == (RESAMPLES,)
    assert found.mean() == pytest.approx(0.75, abs=4 * np.sqrt(0.75 * 0.25 / 40 / RESAMPLES))
    counts = np.bincount(np.round(found * 40).astype(int), minlength=41)
    expected = stats.binom.pmf(np.arange(41), 40, 0.75)
    assert counts / RESAMPLES == pytest.approx(expected, abs=5 * np.sqrt(0.25 / RESAMPLES))
    low, high = stats.binom.ppf([0.025, 0.975], 40, 0.75) / 40
    assert percentile_interval(found) == pytest.approx((low, high))


def test_seeds_alone_are_a_binomial_too() -> None:
    """Two of three seeds are right on every video: the mean of three drawn seeds is Binomial(3, 2/3) / 3."""
    scores = np.array([[1.0] * 5, [1.0] * 5, [0.0] * 5])
    found = bootstrap({"a": scores}, np.zeros(5), resamples=RESAMPLES)["a"]
    counts = np.bincount(np.round(found * 3).astype(int), minlength=4) / RESAMPLES
    assert counts == pytest.approx(np.array([1, 6, 12, 8]) / 27, abs=5 * np.sqrt(0.25 / RESAMPLES))


def test_seeds_share_their_videos() -> None:
    """Three equal seeds are no more certain than one: their errors are on the same videos."""
    one = np.arange(40)[None] < 30
    found = bootstrap({"one": one, "three": np.repeat(one, 3, axis=0)}, np.zeros(40), resamples=500)
    assert found["one"] == pytest.approx(found["three"])


def test_each_stratum_keeps_its_number_of_videos() -> None:
    """All of class 0 right, all of class 1 wrong: nothing varies; without strata the interval has a width."""
    right = np.array([[1.0] * 7 + [0.0] * 3])
    assert np.ptp(bootstrap({"a": right}, right[0])["a"]) == pytest.approx(0)
    low, high = percentile_interval(bootstrap({"a": right}, np.zeros(10))["a"])
    assert (low, high) == pytest.approx((0.4, 1.0))


def test_differences_are_on_the_same_videos() -> None:
    """B is right wherever A is, and on one more video of class 1: it is never behind in any resample."""
    strata = np.repeat([0, 1], 10)
    a = (np.arange(20) % 3 == 0)[None].astype(float)
    b = a.copy()
    b[0, 10] = 1
    found = bootstrap({"a": a, "b": b}, strata, resamples=500)
    difference = found["b"] - found["a"]
    assert difference.min() == pytest.approx(0)
    # How often the video is drawn in 10 draws of 10: Binomial(10, 1/10) with mean 1.
    assert difference.mean() == pytest.approx(1 / 20, abs=4 * np.sqrt(0.9 / 500) / 20)


def test_seeds_of_two_groups_are_drawn_independently() -> None:
    """Equal groups that vary with the seed alone: the variance of their difference is twice that of one."""
    scores = np.array([[1.0] * 5, [1.0] * 5, [0.0] * 5])
    found = bootstrap({"a": scores, "b": scores}, np.zeros(5), resamples=RESAMPLES)
    one = 2 / 3 * 1 / 3 / 3
    assert found["a"].var() == pytest.approx(one, rel=0.05)
    assert (found["a"] - found["b"]).var() == pytest.approx(2 * one, rel=0.05)


def test_an_interval_does_not_depend_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    a, b, strata = draw.random((5, 12)), draw.random((3, 12)), draw.integers(3, size=12)
    alone = bootstrap({"a": a}, strata, resamples=100, seed=3)["a"]
    assert (bootstrap({"b": b, "a": a}, strata, resamples=100, seed=3)["a"] == alone).all()
    assert not (bootstrap({"a": a}, strata, resamples=100, seed=4)["a"] == alone).all()
    # In small chunks the draws are others, not what they are drawn from.
    monkeypatch.setattr(statistics, "CHUNK_ENTRIES", 30)
    assert bootstrap({"a": a}, strata, resamples=2001)["a"].mean() == pytest.approx(alone.mean(), abs=0.05)
    assert len(bootstrap({"a": a}, strata, resamples=2001)["a"]) == 2001
    # A chunk has one resample at least, however many videos there are; 2,000 are drawn by default.
    monkeypatch.setattr(statistics, "CHUNK_ENTRIES", 1)
    assert len(bootstrap({"a": a}, strata, resamples=1)["a"]) == 1
    assert len(bootstrap({"a": a}, strata)["a"]) == 2000


def test_videos_of_a_group_come_and_go_together() -> None:
    """Four groups of ten videos, three of them right: the share right is Binomial(4, 3/4) / 4, however many videos."""
    right, groups = np.repeat([[1.0, 1.0, 1.0, 0.0]], 10, axis=1), np.repeat(["a", "b", "c", "d"], 10)
    found = bootstrap({"a": right}, np.zeros(40), groups=groups, resamples=RESAMPLES)["a"]
    counts = np.bincount(np.round(found * 4).astype(int), minlength=5)
    expected = stats.binom.pmf(np.arange(5), 4, 0.75)
    assert counts / RESAMPLES == pytest.approx(expected, abs=5 * np.sqrt(0.25 / RESAMPLES))
    # A group has as many videos as it has: of one with one and one with three, a resample is one of three shares.
    uneven = bootstrap({"a": np.array([[1.0, 0, 0, 0]])}, np.zeros(4), groups=np.array([0, 1, 1, 1]), resamples=200)
    assert set(np.round(uneven["a"], 6)) == {0.0, 0.25, 1.0}
    # Groups of one are videos.
    alone = bootstrap({"a": right}, np.zeros(40), groups=np.arange(40), resamples=50)["a"]
    assert (alone == bootstrap({"a": right}, np.zeros(40), resamples=50)["a"]).all()
    with pytest.raises(ValueError, match="groups have shape"):
        bootstrap({"a": right}, np.zeros(40), groups=np.zeros(3))


@pytest.mark.parametrize(
    ("scores", "strata", "resamples"),
    [
        (np.zeros((2, 3)), np.zeros(4), 10), (np.zeros((0, 4)), np.zeros(4), 10), (np.zeros(4), np.zeros(4), 10),
        (np.zeros((2, 0)), np.zeros(0), 10), (np.zeros((2, 4)), np.zeros(4), 0),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit_are_refused(scores: np.ndarray, strata: np.ndarray, resamples: int) -> None:
    with pytest.raises(ValueError, match=r"^(scores of 'a'|strata) have shape .*expected"):
        bootstrap({"a": scores}, strata, resamples=resamples)


# ---- properties -----------------------------------------------------------------------------------------------------

values = st.lists(st.floats(-100, 100), min_size=1, max_size=30)


@given(values, st.floats(0.1, 5), st.floats(-50, 50), st.randoms(use_true_random=False))
def test_middle_and_error_follow_a_change_of_units(numbers: list[float], scale: float, shift: float, rng: Any) -> None:
    """x → a x + b moves the mean of the middle half so, and the error by a; no order matters."""
    x = np.array(numbers)
    middle = float(interquartile_mean(x))
    assert float(interquartile_mean(scale * x + shift)) == pytest.approx(scale * middle + shift, abs=1e-9)
    assert standard_error(scale * x + shift) == pytest.approx(scale * standard_error(x), abs=1e-9)
    turned = np.array(rng.sample(numbers, len(numbers)))
    assert float(interquartile_mean(turned)) == pytest.approx(middle, abs=1e-9)
    assert standard_error(turned) == pytest.approx(standard_error(x), abs=1e-9)
    assert min(numbers) - 1e-9 <= middle <= max(numbers) + 1e-9
    # Without groups, it is the standard deviation over √N, and one group of all knows nothing of the spread.
    assert standard_error(x) == pytest.approx(float(x.std()) / np.sqrt(len(x)), abs=1e-9)
    assert standard_error(x, np.zeros(len(x))) == pytest.approx(0, abs=1e-9)


@given(values, st.floats(0.05, 0.99))
def test_an_interval_is_central_and_grows_with_its_confidence(numbers: list[float], confidence: float) -> None:
    low, high = percentile_interval(np.array(numbers), confidence)
    wide = percentile_interval(np.array(numbers), (1 + confidence) / 2)
    assert wide[0] <= low <= high <= wide[1]
    mirrored = percentile_interval(-np.array(numbers), confidence)
    assert mirrored == pytest.approx((-high, -low), abs=1e-9)
    # Of 0 … 1000, the central 90 % are 50 … 950.
    assert percentile_interval(np.arange(1001), 0.9) == pytest.approx((50, 950))


@given(st.integers(1, 3), st.lists(st.integers(0, 2), min_size=1, max_size=8), st.floats(-5, 5), st.integers(0, 2**31))
def test_a_resample_of_equal_scores_is_the_score(seeds: int, strata: list[int], score: float, seed: int) -> None:
    table = np.full((seeds, len(strata)), score)
    found = bootstrap({"a": table, "b": table[:1]}, np.array(strata), resamples=20, seed=seed)
    assert {name: len(one) for name, one in found.items()} == {"a": 20, "b": 20}
    assert np.concatenate([*found.values()]) == pytest.approx(score)
