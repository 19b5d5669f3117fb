"""Interface of policies and of rollouts of whole episodes.

A ``Policy`` (``act``) receives the observations of a whole episode at once, because no action changes them. With
``last_action``, however, an observation contains the policy's own previous action. The policy then acts frame by
frame and must also be a ``StepPolicy`` (``act_step``).
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
    """Output of a policy for whole episodes, or for one step of each (then without the axis T).

    Attributes:
        action: (B, T) int64 on the grid; (B, T, 2) float32 positions if actions are continuous, clipped to [0, 1]².
        log_prob: (B, T) log-probabilities of sampled actions; None for best actions, and agents that do not learn.
        value: (B, T) state values; None for agents without a value function.
        sample: the samples before actions are clipped to their space, in the shape of the actions; ``log_prob``
            refers to them. None if they are the actions themselves.
        probabilities: (B, T, A) probabilities of all grid actions, for pictures; None if the policy has none.
    """

    action: Tensor
    log_prob: Tensor | None = None
    value: Tensor | None = None
    sample: Tensor | None = None
    probabilities: Tensor | None = None


class Policy(Protocol):
    """Anything that acts on whole episodes; every agent of the project is a policy."""

    def act(self, observation: Observation, info: Info, *, deterministic: bool) -> PolicyOutput:
        """Return actions (B, T[, 2]) for observations (B, T, …) or a dict of observations."""
        ...


@runtime_checkable
class StepPolicy(Protocol):
    """Anything that acts frame by frame, for observations that depend on previous actions."""

    def act_step(
        self, observation: Observation, state: Any, info: Info, *, deterministic: bool
    ) -> tuple[PolicyOutput, Any]:
        """Return actions (B[, 2]) for one frame's observations (B, …), and the state for the next frame.

        Args:
            observation: observations of the frame.
            state: state returned by the previous call; None in the first frame of the episodes.
            info: info of the whole episodes, the same in every frame.
            deterministic: take the best action instead of a sample.
        """
        ...


@runtime_checkable
class FeaturePolicy(Protocol):
    """A policy that also reads the features of all patches, and f_C: an oracle."""

    def looking_at(self, problem: Any, episodes: EpisodeFeatures) -> Policy | StepPolicy:
        """Return the policy for these episodes.

        Args:
            problem: the ``DecisionProblem`` of the rollout.
            episodes: features of its B videos.
        """
        ...


@dataclass(kw_only=True)
class Rollout:
    """B whole episodes, with the policy's output, the rewards and the predictions.

    Attributes:
        episodes: features of the episodes.
        info: facts about the videos.
        observation: (B, T, …), or a dict of tensors.
        output: output of the policy, including the actions.
        reward: (B, T) float32; empty (B, 0) if it was not requested.
        logits: (B, T, K) of f_C after every step; the last step is the prediction.
        states: (B, T, H) of f_C after every step.
    """

    episodes: EpisodeFeatures
    info: Info
    observation: Observation
    output: PolicyOutput
    reward: Tensor
    logits: Tensor
    states: Tensor
