"""Search among the frames of a clip: where agents start, how they move, and what they are paid. Pure functions."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

BACK, STAY, AHEAD = 0, 1, 2
"""Moves of an agent."""

SearchReward = Literal["change", "sign", "margin"]
"""Reward of an agent in a step; see ``search_reward``."""

TURN = 25.0
"""Reward ``sign`` where the prediction turns right; its negative where it turns wrong."""


def uniform_frames(agents: int, num_frames: int, *, device: torch.device) -> Tensor:
    """Return the frames (N,) int64 in the middles of N equal parts of T frames: the middle frame for one agent."""
    return ((torch.arange(agents, device=device) + 0.5) * num_frames / agents).long()


def move(frame: Tensor, action: Tensor, *, stride: int, num_frames: int) -> Tensor:
    """Return the frames (…,) after moves (…,): ``stride`` frames back or ahead, at most to the first or last frame."""
    return (frame + (action - STAY) * stride).clamp(0, num_frames - 1)


def frame_at(location: Tensor, num_frames: int) -> Tensor:
    """Return the frames (…,) int64 at relative locations (…,) in [0, 1]; each frame has an equal part of it."""
    return (location * num_frames).long().clamp(0, num_frames - 1)


def location_of(frame: Tensor, num_frames: int) -> Tensor:
    """Return the relative locations (…,) float32 of the middles of frames (…,), the inverse of ``frame_at``."""
    return (frame.float() + 0.5) / num_frames


def true_probability(probability: Tensor, labels: Tensor) -> Tensor:
    """Return the probabilities (…,) of the true classes (…,), given those of all classes, (…, K)."""
    return probability.gather(-1, labels[..., None])[..., 0]


def margin(probability: Tensor, labels: Tensor) -> Tensor:
    """Return the probability of the true class minus the highest of any other class, (…,), in [−1, 1].

    Args:
        probability: (…, K).
        labels: (…,) true classes.
    """
    others = probability.scatter(-1, labels[..., None], 0.0)
    return true_probability(probability, labels) - others.amax(-1)


def search_reward(kind: SearchReward, before: Tensor, after: Tensor, best: Tensor, labels: Tensor) -> Tensor:
    """Return the rewards (…,) of steps.

    - ``change``: the change of the true class's probability.
    - ``sign``: the sign of that change, and ±25 where the prediction turns right or wrong (Wu et al. 2019).
    - ``margin``: by how much the margin exceeds the best one so far, at least 0 (AdaFrame, Wu et al. 2019).

    Args:
        kind: the reward.
        before: (…, K) probabilities before the step.
        after: (…, K) probabilities after it.
        best: (…,) the largest margin until before the step.
        labels: (…,) true classes.
    """
    if kind == "margin":
        return (margin(after, labels) - best).clamp(min=0)
    change = true_probability(after, labels) - true_probability(before, labels)
    if kind == "change":
        return change
    was, now = (found.argmax(-1) == labels for found in (before, after))
    return torch.where(was == now, change.sign(), TURN * (now.float() - was.float()))
