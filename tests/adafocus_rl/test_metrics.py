from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score

from adafocus_rl.metrics import MeanAP, hits, log_odds, mean_average_precision, top1

Array = npt.NDArray[Any]


def test_top1_counts_the_highest_class() -> None:
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.5, 0.5]])
    assert top1(scores, np.array([1, 0, 0, 0])) == 0.75
    assert top1(scores - 100, np.array([1, 0, 0, 1])) == 0.5


def test_top1_of_several_labels_asks_whether_the_highest_is_among_them() -> None:
    scores = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [1.0, 3.0, 2.0], [3.0, 1.0, 2.0]])
    multi_hot = np.array([[1, 1, 0], [1, 0, 1], [1, 0, 1], [0, 0, 0]])
    assert top1(scores, multi_hot) == 0.5
    assert hits(scores, multi_hot).dtype == bool
    assert hits(scores, multi_hot).tolist() == [True, True, False, False]


def test_average_precision_by_hand() -> None:
    def of_one_class(scores: list[float], positives: list[int]) -> float:
        return mean_average_precision(np.array(scores)[:, None], np.array(positives)[:, None]).value

    # Ranked: + - + - : recall steps of ½ at precisions 1 and 2/3.
    assert of_one_class([4, 3, 2, 1], [1, 0, 1, 0]) == pytest.approx(5 / 6)
    # One positive among four equal scores: precision ¼ whichever comes first.
    assert of_one_class([1, 1, 1, 1], [1, 0, 0, 0]) == 0.25
    assert of_one_class([2, 1], [1, 1]) == 1


@st.composite
def scored(draw: st.DrawFn) -> tuple[Array, Array]:
    """(N, K) scores, with many ties or none, and (N, K) multi-hot labels, with absent classes."""
    shape = (draw(st.integers(1, 30)), draw(st.integers(1, 6)))
    values = draw(st.sampled_from([st.integers(-2, 2).map(float), st.floats(-1e6, 1e6)]))
    return draw(hnp.arrays(np.float64, shape, elements=values)), draw(hnp.arrays(np.bool_, shape))


@given(scored())
def test_the_mean_over_classes_with_ties_and_absent_ones(data: tuple[Array, Array]) -> None:
    scores, multi_hot = data
    expected = [
        average_precision_score(multi_hot[:, k], scores[:, k]) if multi_hot[:, k].any() else np.nan
        for k in range(scores.shape[1])
    ]
    absent = int(np.isnan(expected).sum())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, on the mean of nothing
        mean = float(np.nanmean(expected))
    result = mean_average_precision(scores, multi_hot)
    assert (result.classes_used, result.classes_absent) == (scores.shape[1] - absent, absent)
    np.testing.assert_allclose(result.value, mean, rtol=0, atol=1e-12)


def test_an_absent_class_keeps_the_numbers_of_the_others() -> None:
    # Class 1 has no positive: classes 0 and 2 must be judged by their own scores.
    scores = np.array([[0.9, 0.0, 0.1], [0.2, 0.5, 0.8]])
    multi_hot = np.array([[1, 0, 0], [0, 0, 1]])
    assert mean_average_precision(scores, multi_hot) == MeanAP(value=1.0, classes_used=2, classes_absent=1)


def test_nothing_to_judge_is_nan_not_zero() -> None:
    result = mean_average_precision(np.zeros((2, 3)), np.zeros((2, 3)))
    assert np.isnan(result.value)
    assert (result.classes_used, result.classes_absent) == (0, 3)
    assert np.isnan(top1(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)))


def test_what_cannot_be_judged_is_refused() -> None:
    good = np.zeros((2, 3))
    with pytest.raises(ValueError, match="NaN or infinite"):
        top1(np.full((2, 3), np.nan), np.array([0, 1]))
    with pytest.raises(ValueError, match="labels span 0 to 3; expected 0 to 2"):
        top1(good, np.array([0, 3]))
    with pytest.raises(ValueError, match="labels span -1 to 2; expected 0 to 2"):
        top1(good, np.array([-1, 2]))
    assert top1(good, np.array([2, 0])) == 0.5
    with pytest.raises(ValueError, match=r"labels have shape \(3,\); expected \(2,\) or \(2, 3\)"):
        top1(good, np.zeros(3, dtype=np.int64))
    with pytest.raises(ValueError, match=r"multi_hot has shape \(3, 2\); expected \(2, 3\)"):
        mean_average_precision(good, np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"scores have shape \(2,\); expected \(N, K\)"):
        mean_average_precision(np.zeros(2), np.zeros(2))


# ---- log-odds -------------------------------------------------------------------------------------------------------


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=st.floats(-9, 9)))
def test_log_odds_are_those_of_the_softmax(logits: Array) -> None:
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(log_odds(logits), np.log(share / (1 - share)), rtol=1e-9, atol=1e-9)


def test_log_odds_of_two_classes_are_the_difference_of_their_logits() -> None:
    """Also where no probability in float64 differs from 0 or 1 any more."""
    difference = np.array([-9000.0, -800.0, -3.0, 0.0, 3.0, 40.0, 800.0, 9000.0])
    logits = np.stack((difference + 7, np.full(8, 7.0)), axis=1)
    np.testing.assert_allclose(log_odds(logits)[:, 0], difference, rtol=1e-14)
    np.testing.assert_allclose(log_odds(logits)[:, 1], -difference, rtol=1e-14)


def test_sure_videos_keep_their_ranks() -> None:
    """Four videos whose softmax is 1 in float32: the surer two are right, so their average precision is 1, not ½."""
    logits = np.array([[20.0, 0], [25, 0], [21, 0], [30, 0]], dtype=np.float32)
    multi_hot = np.array([[0, 1], [1, 0], [0, 1], [1, 0]])
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert share.dtype == np.float32
    assert mean_average_precision(share[:, :1], multi_hot[:, :1]).value == 0.5
    assert mean_average_precision(log_odds(logits)[:, :1], multi_hot[:, :1]).value == 1


def test_equal_logits_stay_equal_and_nothing_is_infinite() -> None:
    found = log_odds(np.array([[2.0, 2, 1, 1], [0, -np.inf, -np.inf, -np.inf], [0, 0, -np.inf, -np.inf]]))
    assert found[0, 0] == found[0, 1] > found[0, 2] == found[0, 3]
    assert found[1].tolist() == [1e300, -1e300, -1e300, -1e300]
    assert found[2].tolist() == [0, 0, -1e300, -1e300]
    assert np.isnan(log_odds(np.array([[np.nan, 0], [np.inf, 0]]))).any(axis=1).all()
    assert log_odds(np.array([[3.0], [np.nan]]))[:, 0].tolist() == pytest.approx([0, np.nan], nan_ok=True)


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=st.integers(-9, 9).map(float)),
    st.integers(-1000, 1000),
)
def test_log_odds_do_not_see_a_constant_and_rank_as_logits_do(logits: Array, constant: int) -> None:
    found = log_odds(logits)
    np.testing.assert_allclose(log_odds(logits + constant), found, rtol=1e-9, atol=1e-9)
    assert (found.argmax(axis=1) == logits.argmax(axis=1)).all()
    for row, odds in zip(logits, found, strict=True):
        assert (np.argsort(row, kind="stable") == np.argsort(odds, kind="stable")).all()
    # At most one class is likelier than all others together.
    assert ((found > 0).sum(axis=1) <= 1).all()


@settings(max_examples=30)
@given(scored(), st.randoms(use_true_random=False))
def test_the_order_of_videos_and_the_scale_of_scores_do_not_matter(data: tuple[Array, Array], rng: Any) -> None:
    scores, multi_hot = data
    order = rng.sample(range(len(scores)), len(scores))
    expected = mean_average_precision(scores, multi_hot)
    turned = mean_average_precision(scores[order], multi_hot[order])
    np.testing.assert_allclose(turned.value, expected.value, rtol=0, atol=1e-12)
    assert (hits(scores, multi_hot)[order] == hits(scores[order], multi_hot[order])).all()
    assert (hits(2 * scores, multi_hot) == hits(scores, multi_hot)).all()
    np.testing.assert_allclose(mean_average_precision(2 * scores, multi_hot).value, expected.value, atol=1e-12)


@given(scored())
def test_perfect_scores_have_perfect_metrics(data: tuple[Array, Array]) -> None:
    _, multi_hot = data
    found = mean_average_precision(multi_hot.astype(float), multi_hot)
    assert np.isnan(found.value) if not multi_hot.any() else found.value == 1
    single = multi_hot.argmax(axis=1)
    assert top1(np.eye(multi_hot.shape[1])[single], single) == 1
