from __future__ import annotations

import math
from statistics import NormalDist

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adafocus_rl.agents.policies.distributions import Categorical, ClippedGaussian
from adafocus_rl.seeding import hash_uniform


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _uniform(*shape: int) -> torch.Tensor:
    """As agents take them: hashes of counters."""
    return hash_uniform(0, torch.arange(math.prod(shape)).view(shape))


def test_choices_follow_their_probabilities() -> None:
    logits = torch.tensor([0.0, 1, 2, -30]).expand(20_000, -1)
    counts = Categorical(logits).sample(_uniform(20_000)).bincount(minlength=4)
    expected = logits[0].softmax(-1) * 20_000
    # Chi-square with 2 degrees of freedom exceeds 13.8 once in a thousand.
    assert ((counts - expected)[:3] ** 2 / expected[:3]).sum() < 13.8
    assert counts[3] == 0


def test_choices_have_torch_s_probabilities() -> None:
    logits = torch.randn(3, 4, 7, dtype=torch.float64, generator=_generator())
    ours, theirs = Categorical(logits), torch.distributions.Categorical(logits=logits)
    sample = ours.sample(_uniform(3, 4))
    torch.testing.assert_close(ours.log_prob(sample), theirs.log_prob(sample))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    assert torch.equal(ours.mode(), theirs.mode)
    torch.testing.assert_close(ours.probabilities(), theirs.probs)
    assert ours.action(sample) is sample
    alone = Categorical(logits.flatten(0, 1)).sample(_uniform(12))
    assert torch.equal(alone.view(3, 4), sample)


def test_choices_without_probability_are_never_taken() -> None:
    logits = torch.tensor([-math.inf, 0.0, -math.inf, 0.0, -math.inf])
    ends = torch.tensor([0.0, 0.5, 1 - 2.0**-53], dtype=torch.float64)
    assert Categorical(logits.expand(3, -1)).sample(ends).tolist() == [1, 3, 3]


def test_choices_of_a_diverged_network_are_indices() -> None:
    """Else a GPU fails every later call, and nobody reads that the loss is NaN."""
    assert Categorical(torch.full((2, 4), math.nan)).sample(torch.tensor([0.2, 0.9])).tolist() == [3, 3]


def test_draws_at_the_ends_are_finite() -> None:
    """The lowest and the highest of the 53-bit numbers are half a spacing away from 0 and a spacing away from 1."""
    ends = torch.tensor([[0.0, 1 - 2.0**-53]], dtype=torch.float64)
    standard = ClippedGaussian(torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    quantile = NormalDist().inv_cdf
    assert standard.sample(ends)[0].tolist() == pytest.approx([quantile(2.0**-54), quantile(1 - 2.0**-53)], rel=1e-12)
    # Numbers of single precision are shifted in double precision.
    near = torch.tensor([[0.0, 1 - 2.0**-24]])
    assert standard.sample(near)[0].tolist() == pytest.approx([quantile(2.0**-54), quantile(1 - 2.0**-24)], rel=1e-12)


@pytest.mark.parametrize("std", [0.25, 0.1])
def test_positions_have_torch_s_densities(std: float) -> None:
    mean = torch.rand(3, 4, 2, dtype=torch.float64, generator=_generator())
    ours = ClippedGaussian(mean, torch.tensor([std, 2 * std], dtype=torch.float64))
    normal = torch.distributions.Normal(mean, torch.tensor([std, 2 * std], dtype=torch.float64).expand(3, 4, 2))
    theirs = torch.distributions.Independent(normal, 1)
    sample = ours.sample(_uniform(3, 4, 2))
    torch.testing.assert_close(ours.log_prob(sample), theirs.log_prob(sample))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    assert torch.equal(ours.mode(), mean)


def test_positions_are_clipped_after_they_are_drawn() -> None:
    mean, std = torch.tensor([0.1, 0.5]), torch.tensor(0.25)
    distribution = ClippedGaussian(mean.expand(50_000, -1), std)
    sample = distribution.sample(_uniform(50_000, 2))
    action = distribution.action(sample)
    assert torch.equal(action, sample.clamp(0, 1))
    torch.testing.assert_close(sample.mean(0), mean, rtol=0, atol=0.01)
    torch.testing.assert_close(sample.std(0), std.expand(2), rtol=0.02, atol=0)
    # Φ(−0.1 / 0.25) of the draws lie before the first row.
    before = 0.5 * math.erfc(0.4 / math.sqrt(2))
    assert float((action[:, 0] == 0).float().mean()) == pytest.approx(before, abs=0.01)


# ---- properties -----------------------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(-8, 8), min_size=1, max_size=12),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=8),
)
def test_a_choice_is_the_first_whose_cumulative_probability_exceeds_the_number(
    logits: list[float], uniform: list[float]
) -> None:
    """Hence choices do not fall as the number rises, whose share that leads to each choice is its probability."""
    distribution = Categorical(torch.tensor(logits).expand(len(uniform), -1))
    found = distribution.sample(torch.tensor(sorted(uniform), dtype=torch.float64)).tolist()
    assert found == sorted(found)
    share = torch.tensor(logits).softmax(-1).double()
    ends = (share.cumsum(0) / share.sum()).tolist()
    for number, choice in zip(sorted(uniform), found, strict=True):
        assert ([0.0, *ends][choice] - 1e-12) <= number
        assert number <= ends[choice] + 1e-12
    assert 0 <= float(distribution.entropy()[0]) + 1e-6 <= math.log(len(logits)) + 2e-6
    torch.testing.assert_close(distribution.probabilities()[0], torch.tensor(logits).softmax(-1))


@given(st.floats(0, 1), st.floats(0.01, 0.5), st.floats(1e-9, 1 - 1e-9))
def test_a_position_is_the_quantile_of_its_number(mean: float, std: float, uniform: float) -> None:
    distribution = ClippedGaussian(
        torch.full((1, 2), mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    )
    sample = distribution.sample(torch.full((1, 2), uniform, dtype=torch.float64))
    expected = NormalDist(mean, std).inv_cdf(uniform)
    assert sample[0].tolist() == pytest.approx([expected] * 2, abs=1e-6)
    # The two coordinates are independent: densities are multiplied.
    density = 2 * math.log(NormalDist(mean, std).pdf(expected))
    assert float(distribution.log_prob(sample)[0]) == pytest.approx(density, abs=1e-5)


def test_positions_that_are_no_number_are_the_centre() -> None:
    distribution = ClippedGaussian(torch.zeros(1, 2), torch.tensor(0.1))
    assert distribution.action(torch.tensor([[math.nan, 2.0]])).tolist() == [[0.5, 1.0]]
    assert distribution.probabilities() is None


def test_choices_are_drawn_in_double_precision_of_their_own_total() -> None:
    """Ten equal choices, whose float32 probabilities add up to 1 + 1.5 · 10⁻⁸: at 0.3 begins the fourth."""
    near = torch.tensor([0.3 - 1e-9, 0.3 + 1e-9], dtype=torch.float64)
    assert Categorical(torch.zeros(2, 10)).sample(near).tolist() == [2, 3]
