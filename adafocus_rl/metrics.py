"""Accuracy of predictions: top-1 and mean average precision.

Both take NumPy arrays of N videos and K classes. Scores are any numbers that increase with confidence, such as logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanAP:
    """Mean average precision, and the number of classes in the mean."""

    value: float
    """Mean over ``classes_used`` classes, in [0, 1]; NaN if no class has a positive video."""
    classes_used: int
    """Number of classes with at least one positive video."""
    classes_absent: int
    """Number of classes without a positive video; their average precision is undefined, so they are left out."""


def hits(scores: Array, labels: Array) -> Array:
    """Return for each video whether its highest-scored class is one of its true classes.

    Args:
        scores: (N, K) finite numbers; among equal scores, the lower class wins.
        labels: (N,) integer classes, or (N, K) multi-hot of zeros and ones for videos with several classes.

    Returns:
        (N,) booleans.

    Raises:
        ValueError: the shapes do not match, a score is not finite, or a class is outside [0, K).
    """
    scores, labels = _scores(scores), np.asarray(labels)
    if labels.shape not in (scores.shape[:1], scores.shape):
        raise ValueError(f"labels have shape {labels.shape}; expected {scores.shape[:1]} or {scores.shape}")
    if len(scores) == 0:
        return np.zeros(0, dtype=bool)
    chosen = scores.argmax(axis=1)
    if labels.ndim == 2:
        return np.asarray(labels[np.arange(len(chosen)), chosen] > 0)
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise ValueError(f"labels span {labels.min()} to {labels.max()}; expected 0 to {scores.shape[1] - 1}")
    return np.asarray(chosen == labels)


def top1(scores: Array, labels: Array) -> float:
    """Return the top-1 accuracy, the fraction of ``hits`` in [0, 1]; NaN if N is 0."""
    found = hits(scores, labels)
    return float(found.mean()) if len(found) else float("nan")


def log_odds(logits: Array) -> Array:
    """Return log p − log(1 − p) of each class's softmax probability p, in float64.

    Log-odds rank as probabilities do, but stay apart where probabilities round to 0 or 1. In float32, for example, the
    softmax of a logit that is 18 above the others is 1, and all such videos would share a rank.

    Args:
        logits: (N, K) of any floating-point type; −∞ is a probability of 0.

    Returns:
        (N, K) finite float64, ±1e300 for probabilities of 1 and 0. A row with NaN or +∞ gets NaN.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if logits.shape[1] < 2:
        return np.where(np.isfinite(logits), 0.0, np.nan)  # a single class always has probability 1
    with np.errstate(divide="ignore", invalid="ignore"):  # of −∞, and of NaN
        below = logits - logits.max(axis=1, keepdims=True)
        others = below.copy()
        np.put_along_axis(others, below.argmax(axis=1)[:, None], -np.inf, axis=1)
        second = others.max(axis=1, keepdims=True)
        rest = second + np.log(np.exp(others - second).sum(axis=1, keepdims=True))
        rest = np.where(np.isneginf(second), -np.inf, rest)
        # 1 − p is a sum over the other classes, which holds the largest logit for all but the likeliest class.
        odds = np.where(below == 0, -rest, below - np.log1p(np.exp(rest) - np.exp(below)))
    return np.nan_to_num(odds, nan=np.nan, posinf=1e300, neginf=-1e300)


def mean_average_precision(scores: Array, multi_hot: Array) -> MeanAP:
    """Return the mean over classes of scikit-learn's average precision, Σ (recall_i − recall_{i−1}) · precision_i.

    The sum is over thresholds. Videos with equal scores share a threshold, so the value does not depend on their order.
    Classes without a positive video are left out and counted.

    Args:
        scores: (N, K) finite numbers.
        multi_hot: (N, K) zeros and ones; several ones per row for videos with several classes.

    Raises:
        ValueError: the shapes differ, or a score is not finite.
    """
    from sklearn.metrics import average_precision_score  # slow to import

    scores, multi_hot = _scores(scores), np.asarray(multi_hot)
    if multi_hot.shape != scores.shape:
        raise ValueError(f"multi_hot has shape {multi_hot.shape}; expected {scores.shape}")
    positive = (multi_hot > 0).astype(np.int64)
    present = np.flatnonzero(positive.any(axis=0))
    values = [average_precision_score(positive[:, k], scores[:, k]) for k in present]
    return MeanAP(
        value=float(np.mean(values)) if values else float("nan"),
        classes_used=len(present),
        classes_absent=scores.shape[1] - len(present),
    )


def _scores(scores: Array) -> Array:
    scores = np.asarray(scores)
    if scores.ndim != 2:
        raise ValueError(f"scores have shape {scores.shape}; expected (N, K)")
    # A NaN would silently rank last and lower the metric; a diverged model must be reported instead.
    if not np.isfinite(scores).all():
        raise ValueError("a score is NaN or infinite; expected finite numbers")
    return scores
