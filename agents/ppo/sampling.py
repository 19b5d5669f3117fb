"""Agents that draw their actions: every draw is a function of (seed, visit, video, step), never of what ran before."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from adafocus_rl.agents.base import features_of
from adafocus_rl.agents.ppo.distributions import Distribution
from adafocus_rl.agents.recurrent import RecurrentAgent
from adafocus_rl.envs import Info, PolicyOutput
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.seeding import derive_seed, hash_uniform


class SamplingAgent(RecurrentAgent):
    """A recurrent agent whose network gives a distribution for each step.

    Its state (B, M + 1) is the memory (B, M) and the number of steps since the first call, which ``predict`` needs
    to draw other numbers in each step. A new episode clears the memory and leaves the number.
    """

    @abstractmethod
    def initial_memory(self, count: int) -> Tensor:
        """Zeros (B, M), the memory of ``count`` episodes that begin."""

    @abstractmethod
    def decide(self, observation: Observation, memory: Tensor) -> tuple[Distribution, Tensor | None, Tensor]:
        """One step of the network.

        Args:
            observation: (B, …) of the step.
            memory: (B, M).

        Returns:
            Of actions (B,), values (B,) where there is a critic, and the next memory.
        """

    @torch.no_grad()
    def act_step(
        self, observation: Observation, state: Tensor | None, info: Info, *, deterministic: bool = False
    ) -> tuple[PolicyOutput, Tensor]:
        """One step of whole episodes; the state is as in ``predict``.

        Without ``info``, draws belong to rows of the batch instead of videos.
        """
        count = len(features_of(observation))
        if state is None:
            state = torch.nn.functional.pad(self.initial_memory(count), (0, 1))
        step = state[:, -1]
        distribution, value, memory = self.decide(observation, state[:, :-1])
        output = self.choose(distribution, value, None if deterministic else self.uniform(info, step.long()))
        return output, torch.cat((memory, step[:, None] + 1), dim=1)

    def restart(self, state: Tensor, starts: Tensor) -> Tensor:
        """The state where the episodes of rows ``starts`` (B,) begin anew."""
        return torch.cat((state[:, :-1].masked_fill(starts[:, None], 0), state[:, -1:]), dim=1)

    def choose(self, distribution: Distribution, value: Tensor | None, uniform: Tensor | None) -> PolicyOutput:
        """Choices, and what learning needs to know of them.

        Args:
            distribution: of actions (…).
            value: (…), or None.
            uniform: (…) or (…, 2), from which to draw; None takes the best actions.
        """
        sample = distribution.mode() if uniform is None else distribution.sample(uniform)
        return PolicyOutput(
            action=distribution.action(sample),
            log_prob=distribution.log_prob(sample),
            value=value,
            sample=sample,
            # Evaluation is what is looked at; training does without.
            probabilities=distribution.probabilities() if uniform is None else None,
        )

    def uniform(self, info: Info, step: Tensor) -> Tensor:
        """Uniform numbers in [0, 1), one for each action, or two for a position.

        Args:
            info: facts about B episodes; without ``video`` and ``visit``, draws belong to rows of the batch.
            step: (B,) or (B, T) int64, numbers of the steps.

        Returns:
            float64 of the shape of ``step``, with an axis of 2 behind it if actions are continuous.
        """
        episodes = self.episode_counters(info, len(step), step.device)
        counters = [*(counter.view(-1, *[1] * (step.ndim - 1)) for counter in episodes), step]
        if self.continuous:
            axis = torch.arange(2, device=step.device)
            counters = [*(counter[..., None] for counter in counters), axis]
        return hash_uniform(derive_seed(self.seed, "actions"), *counters)

    @staticmethod
    def episode_counters(info: Info, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """What tells B episodes from all others, (B,) each: visit and video; rows of the batch where nobody told."""
        rows = torch.arange(count, device=device)
        return info.get("visit", torch.zeros_like(rows)), info.get("video", rows)

    def uniform_of_episodes(self, info: Info, observation: Observation) -> Tensor:
        """Uniform numbers for all steps of B whole episodes, (B, T) or (B, T, 2): those that single steps get, too."""
        features = features_of(observation)
        steps = torch.arange(features.shape[1], device=features.device)
        return self.uniform(info, steps.expand(len(features), -1))
