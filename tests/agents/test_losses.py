from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adafocus_rl.agents.ppo.losses import (
    clipped_surrogate,
    discounted_returns,
    explained_variance,
    gae,
    normalise,
    ppo_loss,
)

factors = st.floats(0, 1)
numbers = st.floats(-5, 5)


@st.composite
def episodes(draw: st.DrawFn) -> list[tuple[float, float]]:
    """(reward, value) of each frame."""
    return draw(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=9))


@given(episodes(), factors)
def test_returns_equal_a_loop(episode: list[tuple[float, float]], gamma: float) -> None:
    expected, following = [], 0.0
    for reward, _ in reversed(episode):
        following = reward + gamma * following
        expected.insert(0, following)
    rewards = torch.tensor([[reward for reward, _ in episode]], dtype=torch.float64)
    torch.testing.assert_close(discounted_returns(rewards, gamma)[0], torch.tensor(expected, dtype=torch.float64))


@given(episodes(), factors, factors)
def test_gae_equals_a_loop(episode: list[tuple[float, float]], gamma: float, lam: float) -> None:
    expected: list[float] = []
    advantage, next_value = 0.0, 0.0
    for reward, value in reversed(episode):
        advantage = reward + gamma * next_value - value + gamma * lam * advantage
        next_value = value
        expected.insert(0, advantage)
    reward_bt, value_bt = torch.tensor(episode, dtype=torch.float64).T[:, None].unbind(0)
    torch.testing.assert_close(
        gae(reward_bt, value_bt, gamma, lam)[0], torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9
    )


def test_returns_of_a_constant_reward_are_a_geometric_series() -> None:
    returns = discounted_returns(torch.ones(2, 16), 0.7)
    torch.testing.assert_close(returns, ((1 - 0.7 ** torch.arange(16, 0, -1)) / 0.3).expand(2, -1))
    assert torch.equal(discounted_returns(torch.ones(1, 3), 0.0), torch.ones(1, 3))
    assert torch.equal(discounted_returns(torch.ones(1, 3), 1.0), torch.tensor([[3.0, 2, 1]]))


def test_normalise_is_gfnet_s() -> None:
    values = torch.tensor([[1.0, 3], [5, 7]])
    spread = math.sqrt((9 + 1 + 1 + 9) / 3)
    torch.testing.assert_close(normalise(values), torch.tensor([[-3.0, -1], [1, 3]]) / (spread + 1e-5))
    assert normalise(torch.tensor([[4.0]])).tolist() == [[0.0]]
    # Where the spread is as small as what is added to it: √2 · 10⁻⁵.
    small = torch.tensor([-1e-5, 1e-5], dtype=torch.float64)
    torch.testing.assert_close(normalise(small), small / (math.sqrt(2) * 1e-5 + 1e-5))


def test_explained_variance() -> None:
    target = torch.tensor([[1.0, 2], [3, 6]])
    assert explained_variance(target, target) == 1
    assert explained_variance(torch.full_like(target, 7), target) == 0
    torch.testing.assert_close(explained_variance(-target, target), torch.tensor(-3.0))
    assert explained_variance(torch.ones(1, 1), torch.ones(1, 1)).isfinite()
    # Of a constant, whose variance counts as 10⁻¹².
    constant, near = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[0.0, 1e-6]], dtype=torch.float64)
    assert float(explained_variance(near, constant)) == pytest.approx(0.75)


@pytest.mark.parametrize("clip", [0.2, 0.05])
def test_ppo_loss_equals_a_plain_computation(clip: float) -> None:
    draw = torch.Generator().manual_seed(0)
    log_prob, old, advantage, value, target, entropy = (
        torch.randn(4, 5, generator=draw, dtype=torch.float64) / 3 for _ in range(6)
    )
    terms = ppo_loss(
        log_prob=log_prob, old_log_prob=old, advantage=advantage, value=value, value_target=target,
        entropy=entropy, clip_range=clip, vf_coef=0.5, ent_coef=0.03,
    )  # fmt: skip
    policy = value_loss = kl = clipped = 0.0
    for b in range(4):
        for t in range(5):
            difference, a = float(log_prob[b, t] - old[b, t]), float(advantage[b, t])
            ratio = math.exp(difference)
            policy -= min(ratio * a, min(max(ratio, 1 - clip), 1 + clip) * a) / 20
            value_loss += float(value[b, t] - target[b, t]) ** 2 / 20
            kl += (ratio - 1 - difference) / 20
            clipped += (abs(ratio - 1) > clip) / 20
    mean_entropy = sum(entropy.flatten().tolist()) / 20
    expected = {
        "loss": policy + 0.5 * value_loss - 0.03 * mean_entropy,
        "policy_gradient_loss": policy,
        "value_loss": value_loss,
        "entropy_loss": -mean_entropy,
        "approx_kl": kl,
        "clip_fraction": clipped,
    }
    assert 0 < clipped < 1
    for name, number in expected.items():
        assert float(getattr(terms, name)) == pytest.approx(number, rel=1e-6), name


def test_a_clipped_ratio_gives_no_gradient() -> None:
    log_prob = torch.tensor([[0.5, -0.5, 0.5, -0.5]], requires_grad=True)
    terms = ppo_loss(
        log_prob=log_prob, old_log_prob=torch.zeros(1, 4), advantage=torch.tensor([[1.0, 1, -1, -1]]),
        value=torch.zeros(1, 4), value_target=torch.zeros(1, 4), entropy=torch.zeros(1, 4),
        clip_range=0.2, vf_coef=0.5, ent_coef=0.0,
    )  # fmt: skip
    terms.loss.backward()
    assert log_prob.grad is not None
    # Too high already and still wanted, or too low already and still unwanted: nothing more to gain.
    assert (log_prob.grad != 0).tolist() == [[False, True, True, False]]


@given(episodes(), factors)
def test_gae_with_lambda_1_is_the_return_minus_the_value(episode: list[tuple[float, float]], gamma: float) -> None:
    reward, value = torch.tensor(episode, dtype=torch.float64).T[:, None].unbind(0)
    torch.testing.assert_close(gae(reward, value, gamma, 1.0), discounted_returns(reward, gamma) - value)
    # With λ = 0, it is the error of one step.
    following = torch.cat((value[:, 1:], value[:, :1] * 0), dim=1)
    torch.testing.assert_close(gae(reward, value, gamma, 0.0), reward + gamma * following - value)


@given(episodes(), st.integers(0, 8), factors)
def test_a_return_knows_the_future_only(episode: list[tuple[float, float]], at: int, gamma: float) -> None:
    reward = torch.tensor([[reward for reward, _ in episode]], dtype=torch.float64)
    at %= reward.shape[1]
    later = reward.clone()
    later[:, :at] += 1
    torch.testing.assert_close(discounted_returns(later, gamma)[:, at:], discounted_returns(reward, gamma)[:, at:])
    # And it is linear: one more now is one more now, and γ more before.
    more = reward.clone()
    more[:, at] += 1
    gained = discounted_returns(more, gamma)[0] - discounted_returns(reward, gamma)[0]
    powers = [gamma ** (at - step) if step <= at else 0.0 for step in range(reward.shape[1])]
    torch.testing.assert_close(gained, torch.tensor(powers, dtype=torch.float64))


@given(st.lists(numbers, min_size=2, max_size=20), st.floats(0.5, 3), numbers)
def test_normalised_values_keep_neither_place_nor_scale(values: list[float], scale: float, shift: float) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    found = normalise(x, eps=0.0) if x.std() > 1e-3 else None
    if found is not None:
        torch.testing.assert_close(normalise(scale * x + shift, eps=0.0), found, rtol=1e-6, atol=1e-6)
        assert float(found.mean()) == pytest.approx(0, abs=1e-6)
        assert float(found.std()) == pytest.approx(1, abs=1e-6)


@given(st.lists(st.tuples(numbers, st.floats(-1, 1)), min_size=1, max_size=9), st.floats(0.05, 0.5))
def test_the_surrogate_is_a_lower_bound_that_touches_at_a_ratio_of_1(
    pairs: list[tuple[float, float]], clip: float
) -> None:
    advantage, log_ratio = torch.tensor(pairs, dtype=torch.float64).T[:, None].unbind(0)
    zero = torch.zeros_like(advantage)
    options = {"old_log_prob": zero, "advantage": advantage, "clip_range": clip}
    moved = clipped_surrogate(log_prob=log_ratio, **options)
    assert float(moved["policy_gradient_loss"]) >= float(-(log_ratio.exp() * advantage).mean()) - 1e-9
    assert float(moved["approx_kl"]) >= -1e-12
    same = clipped_surrogate(log_prob=zero, **options)
    assert float(same["policy_gradient_loss"]) == pytest.approx(float(-advantage.mean()), abs=1e-9)
    assert (float(same["approx_kl"]), float(same["clip_fraction"])) == (0, 0)
    # A ratio at the bound is not outside.
    bound = clipped_surrogate(log_prob=zero, **{**options, "clip_range": 0.0})
    assert float(bound["clip_fraction"]) == 0
