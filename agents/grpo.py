"""Group-relative advantages: PPO without a critic.

G action sequences are sampled for each video. The advantage of an action is its return minus the mean return of the
group's G sequences from the same step on, so no value function has to be learnt. Source: GRPO (Shao et al. 2024, arXiv
2402.03300, section 4.1), with a return for each step instead of one for the sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from adafocus_rl.agents.grpo_options import GRPOOptions
from adafocus_rl.agents.policies.agent import PolicyAgent
from adafocus_rl.agents.policies.distributions import Distribution
from adafocus_rl.agents.ppo.losses import clipped_surrogate, discounted_returns
from adafocus_rl.envs import Counterfactuals, DecisionVectorEnv, PolicyOutput, Rollout


class GRPOAgent(PolicyAgent):
    """π, or π′, trained with the clipped surrogate objective and group-relative advantages.

    A pass takes G times as many episodes as one of ``PPOAgent``. With live features, f_L is run on the patches of each
    sequence.

    Args:
        env: as in ``Agent``.
        options: options of the network and of training.
        seed: seed of the initial weights, the sampled actions and the minibatches.
    """

    Options = GRPOOptions
    options: GRPOOptions

    label = "grpo"

    def experience(self, env: DecisionVectorEnv, epoch: int) -> Iterator[Rollout]:
        """Yield G sequences of each batch of episodes as one rollout, sequence by sequence."""
        size = self.options.group_size
        for episodes in env.own_parts(epoch=epoch):
            # Each sequence is a visit of its own, so that its actions are drawn with other random numbers.
            visits = range(epoch * size, (epoch + 1) * size)
            yield concatenate([self.roll_out(env, episodes, visit) for visit in visits])

    def targets(self, rollout: Rollout, outcomes: Counterfactuals | None) -> dict[str, Tensor]:
        """Return the samples, their log-probabilities and advantages, (G · B, T) each."""
        output = rollout.output
        assert output.log_prob is not None
        groups = rollout.reward.unflatten(0, (self.options.group_size, -1))
        advantage = group_advantages(groups, self.options.gamma, normalise=self.options.normalise)
        sample = output.action if output.sample is None else output.sample
        return {"sample": sample, "log_prob": output.log_prob, "advantage": advantage.flatten(0, 1)}

    def loss(
        self, distribution: Distribution, value: Tensor, targets: Mapping[str, Tensor], *, progress: float
    ) -> dict[str, Tensor]:
        """Return the clipped surrogate objective's terms; the critic's values are not used."""
        terms = clipped_surrogate(
            log_prob=distribution.log_prob(targets["sample"]),
            old_log_prob=targets["log_prob"],
            advantage=targets["advantage"],
            clip_range=self.options.clip_range,
        )
        entropy_loss = -distribution.entropy().mean()
        loss = terms["policy_gradient_loss"] + self.options.ent_coef_at(progress) * entropy_loss
        return {"loss": loss, "entropy_loss": entropy_loss, **terms}


def group_advantages(reward: Tensor, gamma: float, *, normalise: bool = False, eps: float = 1e-5) -> Tensor:
    """Return the discounted returns minus their mean over the group, at each step.

    Args:
        reward: (G, B, T), rewards of G sequences of each of B videos.
        gamma: γ.
        normalise: divide by the group's standard deviation + eps.
        eps: keeps groups without differences at 0.

    Returns:
        (G, B, T).
    """
    returns = discounted_returns(reward.flatten(0, 1), gamma).view_as(reward)
    advantage = returns - returns.mean(0)
    return advantage / (returns.std(0, correction=0) + eps) if normalise else advantage


def concatenate(rollouts: list[Rollout]) -> Rollout:
    """Return rollouts of the same B episodes as one of G · B; its ``episodes`` stay those of a single rollout."""
    return replace(
        rollouts[0],
        info=_join([rollout.info for rollout in rollouts]),
        observation=_join([rollout.observation for rollout in rollouts]),
        output=PolicyOutput(**_join([vars(rollout.output) for rollout in rollouts])),
        **{name: _join([getattr(rollout, name) for rollout in rollouts]) for name in ("reward", "logits", "states")},
    )


def _join(parts: list[Any]) -> Any:
    """Concatenate tensors, or dicts of tensors by name; None stays None."""
    first = parts[0]
    if isinstance(first, dict):
        return {name: _join([part[name] for part in parts]) for name in first}
    return None if first is None else torch.cat(parts)
