"""Rewards of patch selection: how much a chosen patch helps the frozen classifier f_C.

All are functions of p = softmax probability of the true class after a step. A reward is a function of a
:class:`RewardContext`, whose N transitions may be one step of B environments or all B·T steps of whole episodes: the
same code serves :meth:`step` and :meth:`rollout`. More come through the entry-point group ``adafocus_rl.rewards``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.registry import Registry

MAX_CELL_ROWS = 1 << 16
"""Cells evaluated at once, if there are several positions to average: it bounds their memory."""


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """Which reward the environment pays."""

    kind: str = "random"
    """``random``, ``padding``, ``increment``, ``confidence``, or the name of a third party's reward."""

    baseline_positions: int = 1
    """Random positions averaged as the baseline of ``random``, at least 1; 0 takes the mean over all A positions."""


class RewardContext:
    """N transitions, and lazily what might have been.

    Args:
        classifier: frozen f_C.
        labels: (N,) int64 true classes.
        history: (N, H) classifier states before the step, in the classifier's floating-point type.
        state: (N, H) classifier states after it.
        global_vector: (N, D_G) features of the step's frame.
        local: reads f_L features (N, K, D_L) of other grid actions (N, K) in the same frames.
        local_dim: D_L.
        baseline_actions: (N, K) grid actions of the ``random`` reward's baseline.
        action: (N, …) the actions taken.
    """

    def __init__(
        self,
        *,
        classifier: Classifier,
        labels: Tensor,
        history: Tensor,
        state: Tensor,
        global_vector: Tensor,
        local: Callable[[Tensor], Tensor],
        local_dim: int,
        baseline_actions: Tensor,
        action: Tensor,
    ) -> None:
        self.classifier = classifier
        self.labels = labels
        self.history = history
        self.state = state
        self.global_vector = global_vector
        self.local = local
        self.local_dim = local_dim
        self.baseline_actions = baseline_actions
        self.action = action

    def probability(self, state: Tensor, labels: Tensor) -> Tensor:
        """Probability (…,) of the true classes (…,) in classifier states (…, H)."""
        probabilities = self.classifier.logits(state).float().softmax(-1)
        return probabilities.gather(-1, labels[..., None]).squeeze(-1)

    @cached_property
    def chosen(self) -> Tensor:
        """(N,) p after the step."""
        return self.probability(self.state, self.labels)

    @cached_property
    def previous(self) -> Tensor:
        """(N,) p before the step; before the first one, what f_C says of its initial state."""
        return self.probability(self.history, self.labels)

    def with_local(self, local: Tensor) -> Tensor:
        """(N, K) p had the frame's local features been (N, K, D_L), from the same history: one batched cell call."""
        options = local.shape[1]
        vector = self.global_vector[:, None].expand(-1, options, -1)
        history = self.history[:, None].expand(-1, options, -1)
        inputs = torch.cat((vector, local), dim=-1).to(history.dtype)
        states = self.classifier.cell(inputs.flatten(0, 1), history.flatten(0, 1))
        return self.probability(states.view(*local.shape[:2], -1), self.labels[:, None].expand(-1, options))

    def with_actions(self, actions: Tensor) -> Tensor:
        """(N, K) p had the grid actions (N, K) been chosen, from the same history."""
        options = max(1, MAX_CELL_ROWS // max(1, len(actions)))
        return torch.cat([self.with_local(self.local(part)) for part in actions.split(options, dim=1)], dim=1)


Reward = Callable[[RewardContext], Tensor]
REWARDS: Registry[Reward] = Registry("reward", "adafocus_rl.rewards")


@REWARDS.register("random")
def random_baseline(context: RewardContext) -> Tensor:
    """p(chosen patch) − mean p(random patches), all from the same history (AdaFocus, section 3.2)."""
    return context.chosen - context.with_actions(context.baseline_actions).mean(-1)


@REWARDS.register("padding")
def padding_baseline(context: RewardContext) -> Tensor:
    """p(chosen patch) − p(zero local feature), from the same history."""
    zero = context.global_vector.new_zeros(len(context.labels), 1, context.local_dim)
    return context.chosen - context.with_local(zero).squeeze(-1)


@REWARDS.register("increment")
def increment(context: RewardContext) -> Tensor:
    """p_t − p_{t−1}."""
    return context.chosen - context.previous


@REWARDS.register("confidence")
def confidence(context: RewardContext) -> Tensor:
    """p_t."""
    return context.chosen
