"""Segment sampling against its closed form."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adafocus_rl.data.sampling import clip_indices, segment_indices


@pytest.mark.parametrize(
    ("n", "t", "expected"),
    [
        (16, 4, [2, 6, 10, 14]),
        (10, 4, [1, 3, 6, 8]),
        (4, 4, [0, 1, 2, 3]),
        (3, 5, [0, 1, 2, 2, 2]),
        (1, 3, [0, 0, 0]),
        (300, 1, [150]),
    ],
)
def test_evaluation_takes_the_middles(n: int, t: int, expected: list[int]) -> None:
    assert segment_indices(n, t, rng=None).tolist() == expected


@given(n=st.integers(1, 5000), t=st.integers(1, 64))
def test_evaluation_equals_the_formula(n: int, t: int) -> None:
    indices = segment_indices(n, t, rng=None)
    if n < t:
        assert indices.tolist() == [*range(n), *[n - 1] * (t - n)]
    else:
        # In exact arithmetic: int(n / T · (i + ½)).
        assert indices.tolist() == [(n * (2 * i + 1)) // (2 * t) for i in range(t)]
        assert indices[-1] < n
    assert indices.dtype == np.int64


@given(n=st.integers(1, 500), t=st.integers(1, 32), seed=st.integers(0, 2**32))
def test_training_draws_one_frame_per_segment(n: int, t: int, seed: int) -> None:
    indices = segment_indices(n, t, rng=np.random.default_rng(seed))
    if n < t:
        assert indices.tolist() == [*range(n), *[n - 1] * (t - n)]
    else:
        d = n // t
        assert (indices // d).tolist() == list(range(t))


def test_training_reaches_every_offset_evenly() -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([segment_indices(23, 4, rng=rng) for _ in range(4000)])
    shifts = drawn - 5 * np.arange(4)
    counts = np.bincount(shifts.ravel(), minlength=5)
    assert len(counts) == 5
    # 16,000 draws over 5 values: a standard deviation is 51.
    assert np.abs(counts - 3200).max() < 5 * 51


@pytest.mark.parametrize(("n", "t"), [(0, 4), (4, 0), (-1, 4)])
def test_nothing_to_sample_is_refused(n: int, t: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        segment_indices(n, t, rng=None)


@given(n=st.integers(1, 60), sets=st.lists(st.integers(1, 12), min_size=1, max_size=4), seed=st.integers(0, 2**32))
def test_several_sets_are_clips_of_their_own(n: int, sets: list[int], seed: int) -> None:
    """Each is spread over the whole video, one after the other, and draws on from one generator."""
    expected = [segment_indices(n, size, rng=None).tolist() for size in sets]
    assert clip_indices(n, sets, rng=None).tolist() == [*chain(*expected)]
    one, each = (np.random.default_rng(seed) for _ in range(2))
    drawn = [segment_indices(n, size, rng=each).tolist() for size in sets]
    assert clip_indices(n, sets, rng=one).tolist() == [*chain(*drawn)]


@given(n=st.integers(1, 500), t=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_frames_never_go_back_or_out_of_the_video(n: int, t: int, seed: int) -> None:
    for rng in (None, np.random.default_rng(seed)):
        found = segment_indices(n, t, rng=rng)
        assert len(found) == t
        assert (np.diff(found) >= 0).all()
        assert 0 <= found[0] <= found[-1] < n
    # The middles are the same from either end, but for rounding.
    middles = segment_indices(n, t, rng=None)
    if n >= t:
        assert np.abs(middles + middles[::-1] - (n - 1)).max() <= 1
