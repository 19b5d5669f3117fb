"""Agents that sample their actions: a sample depends on (seed, visit, video, step) only, not on what ran before."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from adafocus_rl.agents.base import features_of
from adafocus_rl.agents.policies.distributions import Distribution
from adafocus_rl.agents.recurrent import RecurrentAgent
from adafocus_rl.envs import Info, PolicyOutput
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.seeding import derive_seed, hash_uniform


class SamplingAgent(RecurrentAgent):
    """A recurrent agent whose network returns a distribution for each step.

    Its state (B, M + 1) is the memory (B, M) and the number of steps since the first call, which gives ``predict``
    different random numbers in each step. A new episode resets the memory, but not the number.
    """

    reads_motion = False

    @abstractmethod
    def initial_memory(self, count: int) -> Tensor:
        """Return zeros (B, M), the memory of ``count`` new episodes."""

    @abstractmethod
    def decide(self, observation: Observation, memory: Tensor) -> tuple[Distribution, Tensor | None, Tensor]:
        """Run one step of the network.

        Args:
            observation: (B, …) of the step.
            memory: (B, M).

        Returns:
            The distribution of the actions (B,), the values (B,) or None without a critic, and the next memory (B, M).
        """

    @torch.no_grad()
    def act_step(
        self, observation: Observation, state: Tensor | None, info: Info, *, deterministic: bool = False
    ) -> tuple[PolicyOutput, Tensor]:
        """Return one step's actions and the next state; the state is as in ``predict``.

        Without ``info``, samples depend on the row of the batch instead of the video.
        """
        count = len(features_of(observation))
        if state is None:
            state = torch.nn.functional.pad(self.initial_memory(count), (0, 1))
        step = state[:, -1]
        distribution, value, memory = self.decide(observation, state[:, :-1])
        output = self.choose(distribution, value, None if deterministic else self.uniform(info, step.long()))
        return output, torch.cat((memory, step[:, None] + 1), dim=1)

    def restart(self, state: Tensor, starts: Tensor) -> Tensor:
        """Return the state, with the memory reset in the rows ``starts`` (B,) bool, where a new episode begins."""
        return torch.cat((state[:, :-1].masked_fill(starts[:, None], 0), state[:, -1:]), dim=1)

    def choose(self, distribution: Distribution, value: Tensor | None, uniform: Tensor | None) -> PolicyOutput:
        """Return actions and values; for samples also their log-probabilities, for the best actions all probabilities.

        Args:
            distribution: distribution of actions (…).
            value: state values (…), or None.
            uniform: uniform numbers (…) or (…, 2) to sample with; None takes the best actions.
        """
        sample = distribution.mode() if uniform is None else distribution.sample(uniform)
        return PolicyOutput(
            action=distribution.action(sample),
            # Learning needs those of samples, pictures of an evaluation those of all actions.
            log_prob=None if uniform is None else distribution.log_prob(sample),
            value=value,
            sample=sample,
            probabilities=distribution.probabilities() if uniform is None else None,
        )

    def uniform(self, info: Info, step: Tensor) -> Tensor:
        """Return uniform numbers in [0, 1), one for each action, or two for a position.

        Args:
            info: facts about B episodes; without ``video`` and ``visit``, rows of the batch are used instead.
            step: (B,) or (B, T) int64, numbers of the steps.

        Returns:
            float64 of the shape of ``step``, with a last axis of 2 if actions are continuous.
        """
        episodes = self.episode_counters(info, len(step), step.device)
        counters = [*(counter.view(-1, *[1] * (step.ndim - 1)) for counter in episodes), step]
        if self.continuous:
            axis = torch.arange(2, device=step.device)
            counters = [*(counter[..., None] for counter in counters), axis]
        return hash_uniform(derive_seed(self.seed, "actions"), *counters)

    @staticmethod
    def episode_counters(info: Info, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the visit and video of B episodes, (B,) each; 0 and the row of the batch if ``info`` lacks them."""
        rows = torch.arange(count, device=device)
        return info.get("visit", torch.zeros_like(rows)), info.get("video", rows)

    def uniform_of_episodes(self, info: Info, observation: Observation) -> Tensor:
        """Return uniform numbers (B, T) or (B, T, 2) for all steps of B episodes, the same as for single steps."""
        features = features_of(observation)
        steps = torch.arange(features.shape[1], device=features.device)
        return self.uniform(info, steps.expand(len(features), -1))
