"""The exact policy gradient over all actions.

The feature bank gives the reward r_k of every action k in every state, so the expectation over actions needs no
samples: ∇ Σ_k π_k r_k instead of the mean of r_a ∇ log π_a over sampled actions a. There is no noise from sampling, no
probability ratio, no clipping and no critic. Known as "mean actor-critic" (Allen et al. 2017, arXiv 1709.00503) and
"expected policy gradients" (Ciosek and Whiteson 2018, arXiv 1706.05374). Histories advance with sampled actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from adafocus_rl.agents.policies.agent import PolicyAgent
from adafocus_rl.agents.policies.distributions import Categorical, Distribution
from adafocus_rl.agents.policies.options import EntropyOptions
from adafocus_rl.agents.policies.shifts import ShiftOptions
from adafocus_rl.envs import Counterfactuals, Rollout


@dataclass(frozen=True, kw_only=True)
class AllActionsOptions(EntropyOptions, ShiftOptions):
    """Options of ``AllActionsAgent``."""

    ent_coef: float = 0.1
    """Weight c of the entropy bonus in the first pass over the videos. The best policy is softmax(r / c)."""


class AllActionsAgent(PolicyAgent):
    """π trained with the exact gradient of the expected reward of each step (γ = 0) and an entropy bonus.

    Args:
        env: as in ``Agent``, with discrete actions.
        options: options of the network and of training.
        seed: seed of the initial weights, the sampled actions and the minibatches.

    Raises:
        UserError: if actions are continuous.
    """

    Options = AllActionsOptions
    options: AllActionsOptions

    label = "all_actions"
    needs_outcomes = True

    def targets(self, rollout: Rollout, outcomes: Counterfactuals | None) -> dict[str, Tensor]:
        """Return the rewards (B, T, A) of all actions."""
        assert outcomes is not None
        return {"reward": outcomes.reward}

    def loss(
        self, distribution: Distribution, value: Tensor, targets: Mapping[str, Tensor], *, progress: float
    ) -> dict[str, Tensor]:
        """Return −mean Σ_k π_k · (r_k − Σ_j π_j r_j) − c · mean entropy; the advantages are constants."""
        assert isinstance(distribution, Categorical)
        policy_loss = expected_loss(distribution.probabilities(), targets["reward"]).mean()
        entropy_loss = -distribution.entropy().mean()
        return {
            "loss": policy_loss + self.options.ent_coef_at(progress) * entropy_loss,
            "policy_gradient_loss": policy_loss,
            "entropy_loss": entropy_loss,
        }


def expected_loss(probabilities: Tensor, reward: Tensor) -> Tensor:
    """Return a loss (…,) whose gradient is that of −Σ_k π_k r_k.

    Args:
        probabilities: π, (…, A).
        reward: r, (…, A); constant.
    """
    advantage = reward - (probabilities * reward).sum(-1, keepdim=True)
    return -(probabilities * advantage.detach()).sum(-1)
