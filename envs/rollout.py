"""Whole episodes: what a policy is asked, what it answers, and what comes of it.

A policy declares how it can be asked by the methods it has. :class:`Policy` (``act``) takes the observations of a whole
episode at once; they are known beforehand, because no action changes them. With ``last_action``, though, an observation
holds what the policy itself chose before: then it is asked frame by frame, and has to be a :class:`StepPolicy`
(``act_step``), too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from adafocus_rl.envs.spaces import Observation
from adafocus_rl.features.source import EpisodeFeatures

Info = dict[str, Tensor]
"""Privileged facts about B episodes, on the features' device.

``video`` (B,) int64 index rows, ``label`` (B,) int64, ``true_box`` (B, T, 4) float32 pixels with NaN where absent,
``visit`` (B,) int64: how often each video was seen before.
"""


@dataclass(kw_only=True)
class PolicyOutput:
    """What a policy says of whole episodes, or of one step of each (then without the axis T).

    Attributes:
        action: (B, T) int64 on the grid; (B, T, 2) float32 positions if actions are continuous, clipped to [0, 1]².
        log_prob: (B, T) of the actions, for agents that learn; else None.
        value: (B, T) state values; else None.
        sample: what was drawn, in the shape of the actions, where actions are clipped to their space; ``log_prob`` is
            of this. None: the actions themselves.
        probabilities: (B, T, A) of all choices, for pictures; None where there is no such distribution.
    """

    action: Tensor
    log_prob: Tensor | None = None
    value: Tensor | None = None
    sample: Tensor | None = None
    probabilities: Tensor | None = None


class Policy(Protocol):
    """Anything that can act on whole episodes; every agent of the project is one."""

    def act(self, observation: Observation, info: Info, *, deterministic: bool) -> PolicyOutput:
        """Actions (B, T[, 2]) for observations (B, T, …), which may be a dict of such."""
        ...


@runtime_checkable
class StepPolicy(Protocol):
    """Anything that can act frame by frame, for observations that depend on the actions before."""

    def act_step(
        self, observation: Observation, state: Any, info: Info, *, deterministic: bool
    ) -> tuple[PolicyOutput, Any]:
        """Actions (B[, 2]) for one frame's observations (B, …), and the state for the next frame.

        Args:
            observation: of the frame.
            state: what the call before returned; None in the first frame of the episodes.
            info: of the whole episodes, the same in every frame.
            deterministic: the best action instead of a sample.
        """
        ...


@dataclass(kw_only=True)
class Rollout:
    """B whole episodes.

    Attributes:
        episodes: the features behind them.
        info: facts about the videos.
        observation: (B, T, …), or a dict of such.
        output: what the policy said, actions included.
        reward: (B, T) float32; empty (B, 0) when it was not asked for.
        logits: (B, T, K) of f_C after every step; the last step is the prediction.
    """

    episodes: EpisodeFeatures
    info: Info
    observation: Observation
    output: PolicyOutput
    reward: Tensor
    logits: Tensor
