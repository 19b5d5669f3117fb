"""Which frames of a video stand for it: one from each of T equal segments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def segment_indices(num_frames: int, T: int, *, rng: np.random.Generator | None) -> NDArray[np.int64]:  # noqa: N803
    """Frame numbers of a clip, in order.

    Training: segments of d = n // T frames, one random frame from each, i·d + randint(d). Evaluation: the
    middles of T equal segments, int(n / T · (i + ½)). A video shorter than T gives all its frames, then the
    last again and again. Source: segment sampling of TSN (Wang et al. 2016), as used by the AdaFocus code.

    Args:
        num_frames: n, frames in the video, ≥ 1.
        T: frames in the clip, ≥ 1.
        rng: generator of the random shifts (the training rule); None for the evaluation rule.

    Returns:
        int64 (T,) frame numbers in [0, n), never decreasing.

    Raises:
        ValueError: ``num_frames`` or ``T`` below 1.
    """
    if num_frames < 1 or T < 1:
        raise ValueError(f"num_frames={num_frames}, T={T}; expected both to be at least 1")
    steps = np.arange(T, dtype=np.int64)
    if num_frames < T:
        return np.minimum(steps, num_frames - 1)
    if rng is None:
        # n(2i + 1) // 2T is int(n/T·(i + ½)) without its rounding errors.
        return num_frames * (2 * steps + 1) // (2 * T)
    length = num_frames // T
    return steps * length + rng.integers(length, size=T)


def clip_indices(num_frames: int, sets: Sequence[int], *, rng: np.random.Generator | None) -> NDArray[np.int64]:
    """Frame numbers of a clip of one set of frames or several, one set after the other.

    Args:
        num_frames: n, frames in the video, ≥ 1.
        sets: T of each set, ≥ 1; each is spread over the whole video.
        rng: as in ``segment_indices``.

    Returns:
        int64 (ΣT,) frame numbers in [0, n).

    Raises:
        ValueError: ``num_frames`` or a T below 1.
    """
    return np.concatenate([segment_indices(num_frames, size, rng=rng) for size in sets])
