"""Segment sampling: the T frames of a video that make a clip, one from each of T equal segments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def segment_indices(video_frames: int, num_frames: int, *, rng: np.random.Generator | None) -> NDArray[np.int64]:
    """Sample the frame numbers of a clip, in order.

    Training takes one random frame from each segment of d = n // T frames, i·d + randint(d). Evaluation takes the
    middles of T equal segments, int(n / T · (i + ½)). A video shorter than T gives all its frames, then repeats the
    last one. Source: segment sampling of TSN (Wang et al. 2016), as used by the AdaFocus code.

    Args:
        video_frames: n, frames in the video, ≥ 1.
        num_frames: T, frames in the clip, ≥ 1.
        rng: generator for the training rule; None selects the evaluation rule.

    Returns:
        int64 (T,) frame numbers in [0, n), never decreasing.

    Raises:
        ValueError: ``video_frames`` or ``num_frames`` is below 1.
    """
    if video_frames < 1 or num_frames < 1:
        raise ValueError(f"video_frames={video_frames}, num_frames={num_frames}; expected both to be at least 1")
    steps = np.arange(num_frames, dtype=np.int64)
    if video_frames < num_frames:
        return np.minimum(steps, video_frames - 1)
    if rng is None:
        # n(2i + 1) // 2T equals int(n/T·(i + ½)) without rounding errors.
        return video_frames * (2 * steps + 1) // (2 * num_frames)
    length = video_frames // num_frames
    return steps * length + rng.integers(length, size=num_frames)


def clip_indices(video_frames: int, frame_sets: Sequence[int], *, rng: np.random.Generator | None) -> NDArray[np.int64]:
    """Sample the frame numbers of a clip of one or several sets of frames, one set after the other.

    Args:
        video_frames: n, frames in the video, ≥ 1.
        frame_sets: T of each set, ≥ 1; each set is spread over the whole video.
        rng: as in ``segment_indices``.

    Returns:
        int64 (ΣT,) frame numbers in [0, n).

    Raises:
        ValueError: ``video_frames`` or a T is below 1.
    """
    return np.concatenate([segment_indices(video_frames, size, rng=rng) for size in frame_sets])
