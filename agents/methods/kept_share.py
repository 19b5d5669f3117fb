"""Training of π′ towards a wanted share of frames: the price of a frame is moved, and the decision is calibrated.

Maximising the reward under the constraint that a share s of the frames is kept is a saddle-point problem: the agent
maximises reward − λ · kept, and the multiplier λ, the price of a kept frame, goes up while more than s is kept and down
while less is (dual ascent). Sampled actions then keep about s. The best actions may keep another share, so the decision
is calibrated in the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from adafocus_rl.agents.base import Agent
from adafocus_rl.agents.learner import Tick
from adafocus_rl.agents.policies.agent import PolicyAgent
from adafocus_rl.envs import FrameSkippingVectorEnv, PolicyOutput, Rollout
from adafocus_rl.envs.skippable import KEEP, SKIP
from adafocus_rl.errors import UserError
from adafocus_rl.features import EpisodeFeatures
from adafocus_rl.features.shares import own_parts

PRICE = "price"
"""Name of λ in a training state."""

CLOSE = 0.002
"""Difference to the wanted share at which ``calibrate`` stops."""


@dataclass(kw_only=True)
class ShareLearner:
    """A ``Learner`` that trains π′ for a number of epochs, and moves the price of a kept frame after each batch."""

    agent: PolicyAgent
    """π′; changed in place."""

    env: FrameSkippingVectorEnv
    """The environment to train on, whose own λ is 0."""

    epochs: int
    """Total number of passes, for the agent's schedules."""

    share: float
    """Wanted share of kept frames."""

    rate: float
    """Step size: λ changes by rate · (share kept − wanted share) after each batch of videos."""

    price: float = field(default=0.0)
    """λ, in probability of the true class; below 0, a kept frame is rewarded."""

    def train_epoch(self, epoch: int, tick: Tick) -> Mapping[str, float]:
        """Train the agent for one pass over the environment's videos."""
        kept: list[Tensor] = []
        experience = self._priced(self.agent.experience(self.env, epoch), kept)
        scalars = self.agent.train_epoch(self.env, epoch, epochs=self.epochs, tick=tick, experience=experience)
        return {**scalars, "train/price": self.price, "train/kept": float(torch.cat(kept).mean())}

    def _priced(self, experience: Iterable[Rollout], seen: list[Tensor]) -> Iterator[Rollout]:
        for rollout in experience:
            kept = (rollout.output.action == KEEP).float()
            yield replace(rollout, reward=rollout.reward - self.price * kept)
            # In the batch of all ranks, so that they have one price.
            kept = rollout.episodes.join(kept)
            self.price += self.rate * (float(kept.mean()) - self.share)
            seen.append(kept.flatten())

    def training_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the agent's training state, and λ."""
        tensors, plain = self.agent.training_state()
        return tensors, {**plain, PRICE: self.price}

    def load_training_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any], *, what: str) -> None:
        """Restore the agent's training state, and λ.

        Raises:
            UserError: if the state belongs to another architecture or optimiser, or to a π′ without a wanted share.
        """
        if PRICE not in plain:
            raise UserError(f"{what} holds no price of a frame; it belongs to a π′ that was trained with a fixed one")
        self.agent.load_training_state(tensors, plain, what=what)
        self.price = float(plain[PRICE])


@torch.no_grad()
def calibrate(agent: PolicyAgent, env: FrameSkippingVectorEnv, share: float, *, rounds: int = 8) -> float:
    """Shift the actor's bias so that the best actions keep a share of the frames of an environment's videos.

    Each round shifts it by the quantile of the logits' differences. One is enough if observations do not depend on what
    is kept; otherwise the differences change with the shift, and the round that came closest counts.

    Args:
        agent: π′; its actor's bias is changed in place.
        env: an environment of the videos of which the share is to be kept; their labels are not used.
        share: wanted share of kept frames.
        rounds: largest number of passes over the videos.

    Returns:
        The share that is kept after it.
    """
    bias = agent.network.actor.bias
    best = (math.inf, 0.0, bias.clone())
    for _ in range(rounds):
        probability = torch.cat([part.join(_probabilities(output)) for part, output in _decisions(agent, env)])
        kept = float((probability.argmax(-1) == KEEP).float().mean())
        if abs(kept - share) < best[0]:
            best = (abs(kept - share), kept, bias.clone())
        if best[0] <= CLOSE:
            break
        wanted = round(share * len(probability))
        ranked = (probability[:, KEEP].log() - probability[:, SKIP].log()).sort(descending=True).values
        bias[KEEP] -= (ranked[max(0, wanted - 1)] + ranked[min(wanted, len(ranked) - 1)]) / 2
    bias.copy_(best[2])
    return best[1]


@torch.no_grad()
def kept_frames(agent: Agent, env: FrameSkippingVectorEnv) -> Tensor:
    """Return the share of an environment's videos in which an agent's best actions keep each frame, (T,)."""
    actions = torch.cat([part.join(output.action) for part, output in _decisions(agent, env)])
    return (actions == KEEP).float().mean(0)


def _decisions(agent: Agent, env: FrameSkippingVectorEnv) -> Iterator[tuple[EpisodeFeatures, PolicyOutput]]:
    """Yield all videos and the best actions in them, on several ranks each rank's part of each batch."""
    for episodes in own_parts(env.source, env.num_envs):
        info = env.info(episodes, torch.zeros_like(episodes.videos))
        yield episodes, env.decide(agent, episodes, info, deterministic=True)[1]


def _probabilities(output: PolicyOutput) -> Tensor:
    """Return the probabilities (B · T, 2) of both actions."""
    assert output.probabilities is not None
    return output.probabilities.flatten(0, 1)
