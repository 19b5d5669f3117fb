"""PPO over whole episodes: sample with one sequence call, update with one sequence call.

The defaults are GFNet's, which AdaFocus adopts (appendix B.1, "the same training hyper-parameters as [8]"): with one
epoch over one full batch, the probability ratio is 1 throughout. More epochs, minibatches over videos, GAE, gradient
clipping and an entropy schedule are available, and off by default.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from adafocus_rl.agents.policies.agent import PolicyAgent
from adafocus_rl.agents.policies.distributions import Distribution
from adafocus_rl.agents.ppo.losses import discounted_returns, explained_variance, gae, normalise, ppo_loss
from adafocus_rl.agents.ppo.options import PPOOptions
from adafocus_rl.envs import Counterfactuals, Rollout


class PPOAgent(PolicyAgent):
    """Recurrent PPO for π.

    Args:
        env: as in ``Agent``.
        options: options of the network and of training.
        seed: seed of the initial weights, the sampled actions and the minibatches.
    """

    Options = PPOOptions
    options: PPOOptions

    label = "ppo"

    def targets(self, rollout: Rollout, outcomes: Counterfactuals | None) -> dict[str, Tensor]:
        """Return the samples, their log-probabilities, advantages and value targets, (B, T) each."""
        output = rollout.output
        assert output.log_prob is not None
        assert output.value is not None
        advantage, target = self._advantage(rollout, output.value)
        sample = output.action if output.sample is None else output.sample
        return {"sample": sample, "log_prob": output.log_prob, "advantage": advantage, "value": target}

    def loss(
        self, distribution: Distribution, value: Tensor, targets: Mapping[str, Tensor], *, progress: float
    ) -> dict[str, Tensor]:
        """Return the clipped surrogate objective's terms (``PPOTerms``)."""
        terms = ppo_loss(
            log_prob=distribution.log_prob(targets["sample"]),
            old_log_prob=targets["log_prob"],
            advantage=targets["advantage"],
            value=value,
            value_target=targets["value"],
            entropy=distribution.entropy(),
            clip_range=self.options.clip_range,
            vf_coef=self.options.vf_coef,
            ent_coef=self.options.ent_coef_at(progress),
        )
        return vars(terms)

    def scheduled(self, progress: float) -> float:
        """Return the weight of the entropy bonus."""
        return self.options.ent_coef_at(progress)

    def diagnostics(self, rollout: Rollout, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the share of the value targets' variance that the critic explained before the update."""
        assert rollout.output.value is not None
        both = rollout.episodes.join(torch.stack((rollout.output.value, targets["value"]), dim=-1))
        return {"train/explained_variance": explained_variance(both[..., 0], both[..., 1])}

    def _advantage(self, rollout: Rollout, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return advantages and value targets, (B, T) each, normalised over the batch of all ranks."""
        reward, join = rollout.reward, rollout.episodes.join
        if self.options.gae_lambda is None:
            returns = discounted_returns(reward, self.options.gamma)
            target = normalise(returns, among=join(returns))
            return target - value, target
        advantage = gae(reward, value, self.options.gamma, self.options.gae_lambda)
        return normalise(advantage, among=join(advantage)), advantage + value
