"""The formulas of PPO as pure functions on tensors; time is the second axis, (B, T).

Every episode ends at T (termination, not truncation), so nothing is bootstrapped beyond the last frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def discounted_returns(reward_bt: Tensor, gamma: float) -> Tensor:
    """Return the discounted returns (B, T): R_t = r_t + γ R_{t+1}, with R_T = 0.

    One product with the triangular matrix of γ^(s−t): T is small, and a loop over time would cost T kernel launches.
    """
    return reward_bt @ _decay(reward_bt, gamma)


def gae(reward_bt: Tensor, value_bt: Tensor, gamma: float, lam: float) -> Tensor:
    """Return generalised advantages (B, T): Σ_{s≥t} (γλ)^(s−t) δ_s with δ_t = r_t + γ V_{t+1} − V_t.

    Source: Schulman et al. 2016, equation 16.
    """
    following = torch.cat((value_bt[:, 1:], torch.zeros_like(value_bt[:, :1])), dim=1)
    delta = reward_bt + gamma * following - value_bt
    return delta @ _decay(delta, gamma * lam)


def _decay(like_bt: Tensor, factor: float) -> Tensor:
    """Return the matrix W (T, T) with W[s, t] = factor^(s−t) for s ≥ t, else 0."""
    step = torch.arange(like_bt.shape[1], device=like_bt.device, dtype=like_bt.dtype)
    exponent = step[:, None] - step[None, :]
    return torch.pow(factor, exponent.clamp(min=0)).tril()


def normalise(values: Tensor, eps: float = 1e-5, *, among: Tensor | None = None) -> Tensor:
    """Return (x − mean) / (std + eps) over all elements, as GFNet normalises returns over the T×B batch.

    A single element (a pass may end with one video of one frame) has no standard deviation: it becomes 0, not NaN.

    Args:
        values: x.
        eps: keeps equal values at 0.
        among: the elements whose mean and standard deviation are taken; None for those of ``values``.
    """
    among = values if among is None else among
    return (values - among.mean()) / (among.std(correction=min(1, among.numel() - 1)) + eps)


@dataclass(kw_only=True)
class PPOTerms:
    """The loss and its terms; scalars are tensors, so that nothing waits for the device.

    Attributes:
        loss: policy + vf_coef · value + ent_coef · entropy_loss.
        policy_gradient_loss: −mean min(ratio · A, clip(ratio) · A).
        value_loss: mean (V − target)².
        entropy_loss: −mean entropy.
        approx_kl: mean (ratio − 1 − log ratio).
        clip_fraction: share of ratios outside [1 − ε, 1 + ε].
    """

    loss: Tensor
    policy_gradient_loss: Tensor
    value_loss: Tensor
    entropy_loss: Tensor
    approx_kl: Tensor
    clip_fraction: Tensor


def clipped_surrogate(
    *, log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip_range: float
) -> dict[str, Tensor]:
    """Return the clipped surrogate objective (Schulman et al. 2017, eq. 7), as in ``PPOTerms``; tensors are (B, T).

    Returns:
        ``policy_gradient_loss``, ``approx_kl`` and ``clip_fraction``.
    """
    log_ratio = log_prob - old_log_prob
    ratio = log_ratio.exp()
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - clip_range, 1 + clip_range) * advantage)
    with torch.no_grad():
        approx_kl = (ratio - 1 - log_ratio).mean()
        clip_fraction = ((ratio - 1).abs() > clip_range).float().mean()
    return {"policy_gradient_loss": -surrogate.mean(), "approx_kl": approx_kl, "clip_fraction": clip_fraction}


def ppo_loss(
    *,
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantage: Tensor,
    value: Tensor,
    value_target: Tensor,
    entropy: Tensor,
    clip_range: float,
    vf_coef: float,
    ent_coef: float,
) -> PPOTerms:
    """Return the loss of PPO with its terms (Schulman et al. 2017, eq. 7 and 9); all tensors are (B, T)."""
    terms = clipped_surrogate(log_prob=log_prob, old_log_prob=old_log_prob, advantage=advantage, clip_range=clip_range)
    value_loss = (value - value_target).square().mean()
    entropy_loss = -entropy.mean()
    return PPOTerms(
        loss=terms["policy_gradient_loss"] + vf_coef * value_loss + ent_coef * entropy_loss,
        value_loss=value_loss,
        entropy_loss=entropy_loss,
        **terms,
    )


def explained_variance(predicted: Tensor, target: Tensor) -> Tensor:
    """Return 1 − Var(target − predicted) / Var(target): 1 is perfect, 0 is no better than the mean."""
    return 1 - (target - predicted).var(correction=0) / target.var(correction=0).clamp_min(1e-12)
