"""Distillation: π learns to predict how good each action is, from the rewards of all actions.

Supervised learning instead of reinforcement: the target distribution over the A positions is softmax(r / τ), and the
loss is π's cross-entropy to it, which is convex in π's logits. The idea is that of search-then-map methods
(Search-Map-Search, Zhao et al. 2023; SOSampler, Xian et al. 2024); here the search is exhaustive. Histories advance
with actions that π samples, so that π is trained on the states that it will be in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from adafocus_rl.agents.other_runs import OtherRuns
from adafocus_rl.agents.policies.agent import PolicyAgent
from adafocus_rl.agents.policies.distributions import Categorical, Distribution
from adafocus_rl.agents.policies.shifts import ShiftOptions
from adafocus_rl.envs import Counterfactuals, DecisionVectorEnv, Rollout
from adafocus_rl.envs.whole_episodes import outcomes_of_actions
from adafocus_rl.options import require


@dataclass(frozen=True, kw_only=True)
class DistilOptions(ShiftOptions):
    """Options of ``DistilAgent``."""

    temperature: float = 0.1
    """Temperature τ of the target distribution softmax(r / τ), in units of the reward; 0 targets the best action."""

    runs: list[str] = field(default_factory=list)
    """Folders of runs of the other folds of a cross-validation. Targets then come from networks that were not trained
    on the video (cross-fitted): those of the run whose validation list has it. Empty: from the run's own networks."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        require(self, "temperature", self.temperature >= 0, "0 (the best action) or a number above it")


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

    def __init__(self, env: DecisionVectorEnv, options: DistilOptions | None = None, *, seed: int = 0) -> None:
        super().__init__(env, options, seed=seed)
        self._others = OtherRuns(self.options.runs)

    def outcomes(self, env: DecisionVectorEnv, rollout: Rollout) -> Counterfactuals:
        """Return the outcomes of all actions, by the networks of the other runs if there are any.

        Raises:
            UserError: another run cannot be used, or none has a video in its validation list.
        """
        if not self.options.runs:
            return super().outcomes(env, rollout)
        action, video, visit = rollout.output.action, rollout.info["video"], rollout.info["visit"]
        count = action.new_zeros(len(action))
        sums = [torch.zeros(*action.shape, self.num_actions, device=action.device) for _ in range(2)]
        for places, problem, episodes in self._others.held_out(env.source, env.problem, video):
            found = outcomes_of_actions(problem, episodes, action[places], visit[places], seed=env.seed)
            count[places] += 1
            for total, part in zip(sums, (found.probability, found.reward), strict=True):
                total[places] += part.to(total.device)
        probability, reward = (total / count[:, None, None] for total in sums)
        return Counterfactuals(probability=probability, reward=reward)

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
