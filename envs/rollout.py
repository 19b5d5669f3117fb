"""Whole episodes: what a policy is asked, what it answers, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from adafocus_rl.features.source import EpisodeFeatures

Info = dict[str, Tensor]
"""Privileged facts about B episodes, on the features' device.

``video`` (B,) int64 index rows, ``label`` (B,) int64, ``true_box`` (B, T, 4) float32 pixels with NaN where absent,
``visit`` (B,) int64: how often each video was seen before.
"""


@dataclass(kw_only=True)
class PolicyOutput:
    """What a policy says of whole episodes.

    Attributes:
        action: (B, T) int64.
        log_prob: (B, T) of the actions, for agents that learn; else None.
        value: (B, T) state values; else None.
    """

    action: Tensor
    log_prob: Tensor | None = None
    value: Tensor | None = None


class Policy(Protocol):
    """Anything that can act on whole episodes; every agent of the project is one."""

    def act(self, observation: Tensor, info: Info, *, deterministic: bool) -> PolicyOutput:
        """Actions (B, T) for observations (B, T, C, h, w)."""
        ...


@dataclass(kw_only=True)
class Rollout:
    """B whole episodes.

    Attributes:
        episodes: the features behind them.
        info: facts about the videos.
        observation: (B, T, C, h, w).
        output: what the policy said, actions included.
        reward: (B, T) float32; empty (B, 0) when it was not asked for.
        logits: (B, T, K) of f_C after every step; the last step is the prediction.
    """

    episodes: EpisodeFeatures
    info: Info
    observation: Tensor
    output: PolicyOutput
    reward: Tensor
    logits: Tensor
