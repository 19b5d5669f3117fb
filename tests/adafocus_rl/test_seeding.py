from __future__ import annotations

import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from adafocus_rl.seeding import (
    compute_deterministically,
    derive_seed,
    hash_randint,
    hash_uniform,
    isolated,
    seed_all,
)

PARTS = st.lists(st.integers(-(2**70), 2**70) | st.text(max_size=8), max_size=4)


@given(PARTS, PARTS)
def test_derive_seed_tells_lists_apart_and_fits_63_bits(left: list[int | str], right: list[int | str]) -> None:
    seed = derive_seed(*left)
    assert 0 <= seed < 2**63
    assert (seed == derive_seed(*right)) == (left == right)


def test_derive_seed_is_the_same_in_another_process() -> None:
    # String hashing is salted per process; the seed must not be.
    code = "from adafocus_rl.seeding import derive_seed; print(derive_seed(3, 'train', 7))"
    printed = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert int(printed) == derive_seed(3, "train", 7) == derive_seed(np.int64(3), "train", np.int32(7))


def test_derive_seed_is_pinned() -> None:
    # A change here changes every published result.
    assert derive_seed(0) == 2631537505891389924
    assert derive_seed(0, "train", 1) == 219968077643412045


def test_seed_all_seeds_the_three_generators() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    seed_all(1, "a")
    first = draw()
    seed_all(1, "b")
    other = draw()
    seed_all(1, "a")
    assert draw() == first
    assert all(a != b for a, b in zip(first, other, strict=True))


def splitmix_reference(seed: int, counters: tuple[int, ...]) -> int:
    """The hash in Python's unbounded integers: an independent statement of what int64 tensors compute."""
    mask, golden = 2**64 - 1, 0x9E3779B97F4A7C15

    def mix(x: int) -> int:
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    state = mix((seed + golden) & mask)
    for counter in counters:
        state = mix((counter * golden + golden + state) & mask)
    return state


@given(st.integers(0, 2**63 - 1), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=3))
def test_hash_uniform_equals_unbounded_integer_arithmetic(seed: int, counters: list[int]) -> None:
    got = hash_uniform(seed, *(torch.tensor(counter) for counter in counters))
    assert got.dtype == torch.float64
    assert got.item() == (splitmix_reference(seed, tuple(counters)) >> 11) / 2**53


def test_hash_starts_with_the_published_splitmix64_sequence() -> None:
    # First output of SplitMix64 for seed 0, as published with the reference C code.
    assert splitmix_reference(0, ()) == 0xE220A8397B1DCDAF


def test_hash_uniform_is_pinned() -> None:
    got = hash_uniform(0, torch.arange(3), torch.tensor(5))
    assert got.tolist() == [0.3150901965850199, 0.39030004657957573, 0.301904715478007]


def test_hash_uniform_depends_on_nothing_but_the_counters() -> None:
    video, frame = torch.arange(6)[:, None], torch.arange(4)[None, :]
    whole = hash_uniform(9, video, frame)
    assert whole.shape == (6, 4)
    assert torch.equal(hash_uniform(9, video[4:5].int(), frame), whole[4:5])
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    assert torch.equal(hash_uniform(9, order[:, None], frame), whole[order])
    assert torch.equal(hash_uniform(9, torch.tensor(2), torch.tensor(3)), whole[2, 3])
    assert not torch.isin(hash_uniform(10, video, frame), whole).any()
    assert len(set(whole.flatten().tolist())) == 24


@pytest.mark.gpu
def test_hash_uniform_is_the_same_on_cuda() -> None:
    counters = torch.arange(1000)
    got = hash_uniform(4, counters.cuda(), torch.tensor(-1).cuda()).cpu()
    assert torch.equal(got, hash_uniform(4, counters, torch.tensor(-1)))


@pytest.mark.parametrize("seed", [0, 1, derive_seed("any")])
def test_uniformity_and_independence_of_neighbours(seed: int) -> None:
    draws = hash_uniform(seed, torch.arange(200)[:, None], torch.arange(200)[None, :]).numpy()
    assert draws.min() >= 0
    assert draws.max() < 1
    counts = np.histogram(draws, bins=100, range=(0, 1))[0]
    assert stats.chisquare(counts).pvalue > 1e-3
    # Pairs of neighbours along either axis, and across seeds, fill the unit square evenly.
    other = hash_uniform(seed + 1, torch.arange(200)[:, None], torch.arange(200)[None, :]).numpy()
    for left, right in ((draws[:-1], draws[1:]), (draws[:, :-1], draws[:, 1:]), (draws, other)):
        pairs = np.histogram2d(left.ravel(), right.ravel(), bins=10, range=[[0, 1], [0, 1]])[0]
        assert stats.chisquare(pairs.ravel()).pvalue > 1e-3
    # Counters (a, b) and (b, a) are different questions.
    assert not (draws == draws.T)[~np.eye(200, dtype=bool)].any()


def test_hash_randint_is_uniform_over_all_values() -> None:
    draws = hash_randint(49, 0, torch.arange(49_000))
    assert draws.dtype == torch.int64
    counts = torch.bincount(draws, minlength=49)
    assert counts.numel() == 49
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    assert torch.equal(hash_randint(1, 0, torch.arange(5)), torch.zeros(5, dtype=torch.int64))


def test_hash_refuses_what_it_cannot_count_by() -> None:
    with pytest.raises(TypeError, match=r"torch\.float32; expected an integer"):
        hash_uniform(0, torch.zeros(2))
    with pytest.raises(ValueError, match="at least one"):
        hash_uniform(0)
    for high in (0, 2**31 + 1):
        with pytest.raises(ValueError, match=r"expected 1 to 2\*\*31"):
            hash_randint(high, 0, torch.arange(2))


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5))
def test_a_tensor_of_seeds_gives_each_its_own_numbers(seeds: list[int]) -> None:
    counters = torch.arange(len(seeds)) * 3, torch.tensor(7)
    together = hash_uniform(torch.tensor(seeds), *counters)
    alone = [hash_uniform(seed, counters[0][row], counters[1]).item() for row, seed in enumerate(seeds)]
    assert together.tolist() == alone
    assert hash_randint(50, torch.tensor(seeds), *counters).tolist() == [int(value * 50) for value in alone]


def test_what_is_isolated_follows_from_its_seed_and_leaves_no_trace() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    seed_all(0, "outside")
    expected = [draw() for _ in range(4)]
    seed_all(0, "outside")
    found, inside = [draw()], []
    for number in (1, 1, 2):
        with isolated("inside", number):
            inside.append(draw())
        found.append(draw())
    assert found == expected
    assert inside[0] == inside[1] != inside[2]


def test_what_is_isolated_may_fail() -> None:
    before = torch.get_rng_state(), random.getstate()

    def fail() -> None:
        with isolated("inside"):
            raise KeyError(torch.rand(()), random.random())

    with pytest.raises(KeyError):
        fail()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_deterministic_computation_is_asked_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        compute_deterministically()
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.backends.cudnn.benchmark
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
        compute_deterministically()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"  # the user's own
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
