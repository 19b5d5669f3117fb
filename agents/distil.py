"""Distillation: π learns to predict how good each action is, from the rewards of all actions.

Supervised learning instead of reinforcement: the target distribution over the A positions is softmax(r / τ), and the
loss is π's cross-entropy to it, which is convex in π's logits. The idea is that of search-then-map methods
(Search-Map-Search, Zhao et al. 2023; SOSampler, Xian et al. 2024); here the search is exhaustive. Histories advance
with actions that π samples, so that π is trained on the states that it will be in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from adafocus_rl.agents.base import AGENTS
from adafocus_rl.agents.policies.agent import PolicyAgent
from adafocus_rl.agents.policies.distributions import Categorical, Distribution
from adafocus_rl.agents.policies.options import PolicyOptions
from adafocus_rl.envs import Counterfactuals, Rollout
from adafocus_rl.options import require


@dataclass(frozen=True, kw_only=True)
class DistilOptions(PolicyOptions):
    """Options of ``DistilAgent``."""

    temperature: float = 0.1
    """Temperature τ of the target distribution softmax(r / τ), in units of the reward; 0 targets the best action."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        require(self, "temperature", self.temperature >= 0, "0 (the best action) or a number above it")


@AGENTS.register("DistilAgent")
class DistilAgent(PolicyAgent):
    """π trained with cross-entropy to the softmax of all actions' rewards.

    Args:
        env: as in ``Agent``, with discrete actions.
        options: options of the network and of training.
        seed: seed of the initial weights, the sampled actions and the minibatches.

    Raises:
        UserError: if actions are continuous.
    """

    Options = DistilOptions
    options: DistilOptions

    label = "distil"
    needs_outcomes = True

    def targets(self, rollout: Rollout, outcomes: Counterfactuals | None) -> dict[str, Tensor]:
        """Return the target distributions (B, T, A)."""
        assert outcomes is not None
        return {"target": target_distribution(outcomes.reward, self.options.temperature)}

    def loss(
        self, distribution: Distribution, value: Tensor, targets: Mapping[str, Tensor], *, progress: float
    ) -> dict[str, Tensor]:
        """Return the mean cross-entropy, and the mean Kullback–Leibler divergence from the target to π."""
        assert isinstance(distribution, Categorical)
        target = targets["target"]
        loss = -(target * distribution.logits.log_softmax(-1)).sum(-1).mean()
        entropy = -torch.special.xlogy(target, target).sum(-1).mean()
        return {"loss": loss, "target_kl": loss.detach() - entropy}


def target_distribution(reward: Tensor, temperature: float) -> Tensor:
    """Return softmax(r / τ) (…, A) of rewards (…, A); for τ = 0 equal shares of the best actions."""
    if temperature == 0:
        best = reward == reward.amax(-1, keepdim=True)
        return best / best.sum(-1, keepdim=True)
    return (reward / temperature).softmax(-1)
