"""Straight-through Gumbel-softmax: the gradient of a loss with respect to π, through features of all positions.

A sampled action is one-hot in the forward pass; in the backward pass it is softmax((logits + G) / τ), with the Gumbel
noise G for which the sample is the maximum of logits + G (Jang et al. 2017, arXiv 1611.01144; Maddison et al. 2017,
arXiv 1611.00712). So a loss of the selected features tells π about the features of every other position, too.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from adafocus_rl.agents.policies.agent import PolicyAgent
from adafocus_rl.agents.policies.distributions import Categorical, Distribution
from adafocus_rl.agents.policies.options import EntropyOptions
from adafocus_rl.envs import Counterfactuals, DecisionVectorEnv, Rollout
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import sequence_loss
from adafocus_rl.options import require
from adafocus_rl.seeding import derive_seed, hash_uniform


@dataclass(frozen=True, kw_only=True)
class StraightThroughOptions(EntropyOptions):
    """Options of agents with a straight-through gradient."""

    temperature: float = 1.0
    """Temperature τ of the mixture in the backward pass, above 0. A low one has gradients of less bias and more
    variance."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        require(self, "temperature", self.temperature > 0, "a number above 0")


class StraightThroughAgent(PolicyAgent):
    """Base class of agents whose loss is a cross-entropy of what is selected, differentiable in the selection.

    A subclass returns class logits of weights over the positions (``recognise``) and the constants that it needs for
    this (``constants``).

    Args:
        env: as in ``Agent``; actions are the grid's positions.
        options: options of the network and of training.
        seed: seed of the initial weights, the sampled actions, the Gumbel noise and the minibatches.

    Raises:
        UserError: if actions are not the grid's positions.
    """

    Options = StraightThroughOptions
    options: StraightThroughOptions

    def __init__(self, env: DecisionVectorEnv, options: StraightThroughOptions | None = None, *, seed: int = 0) -> None:
        super().__init__(env, options, seed=seed)
        if self.continuous or self.num_actions != self.grid.num_actions:
            raise UserError(
                f"{type(self).__name__} selects positions of the grid, but the action space is {self.action_space}; "
                "use it for π, with grid actions (env.action_space=grid)"
            )

    @abstractmethod
    def constants(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the constants (B, …) that ``recognise`` reads, by name, for B whole episodes."""

    @abstractmethod
    def recognise(self, weights: Tensor, constants: Mapping[str, Tensor]) -> Tensor:
        """Return the class logits (b, S, K) after S steps.

        Args:
            weights: (b, T, A), one-hot at the sampled positions.
            constants: the minibatch's rows of ``constants``.
        """

    def targets(self, rollout: Rollout, outcomes: Counterfactuals | None) -> dict[str, Tensor]:
        """Return the samples (B, T), uniform numbers for their noise (B, T, A), the labels (B,) and ``constants``."""
        action = rollout.output.action
        visit, video = self.episode_counters(rollout.info, len(action), self.device)
        steps, actions = (torch.arange(count, device=self.device) for count in (action.shape[1], self.num_actions))
        uniform = hash_uniform(
            derive_seed(self.seed, "gumbel"), visit[:, None, None], video[:, None, None], steps[:, None], actions
        )
        return {
            "action": action,
            "uniform": uniform,
            "label": rollout.episodes.labels,
            **self.constants(rollout),
        }

    def loss(
        self, distribution: Distribution, value: Tensor, targets: Mapping[str, Tensor], *, progress: float
    ) -> dict[str, Tensor]:
        """Return the cross-entropy of the true class plus the entropy loss; the critic's values are not used."""
        assert isinstance(distribution, Categorical)
        weights = straight_through(
            distribution.logits, targets["action"], targets["uniform"], temperature=self.options.temperature
        )
        cross_entropy = sequence_loss(self.recognise(weights, targets).float(), targets["label"])
        entropy_loss = -distribution.entropy().mean()
        return {
            "loss": cross_entropy + self.options.ent_coef_at(progress) * entropy_loss,
            "cross_entropy": cross_entropy,
            "entropy_loss": entropy_loss,
        }


def straight_through(logits: Tensor, action: Tensor, uniform: Tensor, *, temperature: float) -> Tensor:
    """Return weights (…, A) with the value one_hot(action) and the gradient of softmax((logits + G) / τ).

    Args:
        logits: (…, A).
        action: (…,) int64, samples.
        uniform: (…, A), uniform numbers in [0, 1) that determine the noise; see ``noise_given``.
        temperature: τ.
    """
    return _through(logits + noise_given(logits, action, uniform), action, temperature)


def gumbel_softmax(logits: Tensor, uniform: Tensor, *, temperature: float) -> Tensor:
    """Return samples of the softmax of the logits as weights (…, A), one-hot, with the gradient of their mixture.

    Args:
        logits: (…, A).
        uniform: (…, A), uniform numbers in [0, 1) that determine the noise and with it the samples.
        temperature: τ.
    """
    noisy = logits - _log_exponential(uniform).to(logits.dtype)
    return _through(noisy, noisy.argmax(-1), temperature)


def _through(noisy: Tensor, action: Tensor, temperature: float) -> Tensor:
    """Return weights (…, A) with the value one_hot(action) and the gradient of softmax(noisy / τ)."""
    mixture = (noisy / temperature).softmax(-1)
    hard = torch.nn.functional.one_hot(action, noisy.shape[-1]).to(mixture.dtype)
    # In this order the value is exact.
    return hard + (mixture - mixture.detach())


@torch.no_grad()
def noise_given(logits: Tensor, action: Tensor, uniform: Tensor) -> Tensor:
    """Return Gumbel noise G (…, A), drawn from its distribution given that ``action`` maximises logits + G.

    The maximum of logits + G is a Gumbel variable with location log Σ exp(logits) and independent of where it is; the
    others are Gumbel variables below it (Maddison et al. 2014, arXiv 1411.0030; Paulus et al. 2021, arXiv 2010.04838).
    If actions are samples of the softmax of the logits, G is therefore plain Gumbel noise.

    Args:
        logits: (…, A).
        action: (…,) int64.
        uniform: (…, A), uniform numbers in [0, 1).
    """
    wide = logits.double()
    log_exponential = _log_exponential(uniform)
    chosen = action[..., None]
    top = wide.logsumexp(-1, keepdim=True) - log_exponential.gather(-1, chosen)
    below = -torch.logaddexp(log_exponential - wide, -top)
    return (below.scatter(-1, chosen, top) - wide).to(logits.dtype)


def _log_exponential(uniform: Tensor) -> Tensor:
    """Return float64 logarithms of exponential variables; Gumbel variables are their negatives."""
    # 0 and 1 would have infinite noise, so the 53-bit numbers are shifted by half of their spacing.
    return (-(uniform.double() + 2.0**-54).clamp(max=1 - 2.0**-53).log()).log()
