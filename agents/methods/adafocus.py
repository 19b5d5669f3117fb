"""AdaFocus: an agent selects one patch in every frame (Wang et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adafocus_rl import checkpoint
from adafocus_rl.agents.base import Agent
from adafocus_rl.agents.fixed import RandomAgent
from adafocus_rl.agents.methods.base import FIRST_VISIT, Method
from adafocus_rl.agents.methods.outcome import Cost, Outcome, Steps, Visit
from adafocus_rl.agents.methods.stream import ActingStream, Stream, check_single_frames
from adafocus_rl.envs import DecisionVectorEnv
from adafocus_rl.features import EpisodeFeatures
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.record import RANDOM_DECISIONS


class AdaFocus(Method):
    """f_G on every frame, an agent that selects one patch of it, f_L on that patch, and f_C on both features.

    It is built from the trained parts of a run, and therefore not registered: the configuration's key ``agent``
    enables it.

    Args:
        recognizer: f_G and f_L.
        options: none; the agent has its own.
        seed: not used; the agent has its own.
        env: the environment, with the f_C that makes the predictions.
        agent: the trained agent that selects the patches.
        variant: name of this f_C's variant.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        options: Any = None,
        *,
        env: DecisionVectorEnv,
        agent: Agent,
        variant: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(recognizer, options, seed=seed)
        self.env = env
        self.agent = agent.bind(env)
        self.label = agent.label
        self.variant = variant
        self.stochastic = agent.stochastic
        self.privileged = agent.privileged
        self.policy_macs = agent.macs_per_step()

    def run(self, batch: EpisodeFeatures, *, knob: float | None = None, visit: Visit = FIRST_VISIT) -> Outcome:
        """Recognise B videos with the agent's best actions."""
        return act(self.env, self.agent, batch, cost=self._cost, visit=visit)

    def stream(self, *, knob: float | None = None, count: int = 1) -> Stream:
        """Begin to recognise streams online, with the agent's best actions."""
        check_single_frames(self.recognizer, self.label)
        return ActingStream(self.env, self.agent, cost=self._cost, count=count)

    @property
    def _cost(self) -> Cost:
        return patch_cost(self, self.policy_macs, patches=self.agent.patches_per_frame)

    def random_counterpart(self) -> AdaFocus | None:
        """Return the same system on random patches; it still pays for π, for equal compute."""
        if isinstance(self.agent, RandomAgent):
            return None
        agent = RandomAgent(self.env, seed=self.agent.seed)
        found = AdaFocus(self.recognizer, env=self.env, agent=agent, variant=RANDOM_DECISIONS)
        found.label, found.policy_macs = self.label, self.policy_macs
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights of the agent and of f_C."""
        return acting_tensors(self.env, self.agent)

    def load_tensors(self, tensors: Mapping[str, Tensor], *, what: str) -> None:
        """Restore the weights of the agent and of f_C."""
        load_acting(self.env, self.agent, tensors, what=what)


def patch_cost(method: Method, policy_macs: int, *, patches: int = 1) -> Cost:
    """Return the cost of a step, with f_L on ``patches`` or on none; ``policy_macs`` are those of all policies."""
    costs = method.costs
    return Cost(always=costs.glance + costs.classifier + policy_macs, local=patches * costs.focus_patch)


@torch.no_grad()
def act(env: DecisionVectorEnv, agent: Agent, batch: EpisodeFeatures, *, cost: Cost, visit: Visit) -> Outcome:
    """Recognise a batch of videos with an agent's best actions.

    Args:
        env: the environment; its own videos are not used.
        agent: the agent that acts in it.
        batch: features of B videos.
        cost: cost of a step.
        visit: number of the visit, and which further results to compute.
    """
    rollout = env.rollout(agent, episodes=batch, visit=visit.number, deterministic=True, with_reward=visit.rewards)
    # π′ has no probabilities of patches; those need another forward pass of π.
    known = visit.probabilities or not env.skips_frames
    probabilities = env.patch_probabilities(rollout) if known else None
    steps = Steps.of_patches(
        env.source.grid,
        logits=rollout.logits,
        boxes=env.chosen_boxes(rollout),
        cost=cost,
        kept=env.kept_frames(rollout) if env.skips_frames else None,
        reward=rollout.reward if visit.rewards else None,
        probabilities=probabilities,
    )
    return Outcome.after(steps)


def acting_tensors(env: DecisionVectorEnv, agent: Agent, prefix: str = "") -> dict[str, Tensor]:
    """Return the tensors to save of an agent and its f_C, under names that begin with ``prefix``."""
    classifier = {f"{prefix}classifier.{name}": value for name, value in env.classifier.state_dict().items()}
    return {**{f"{prefix}agent.{name}": value for name, value in agent.tensors().items()}, **classifier}


def load_acting(
    env: DecisionVectorEnv, agent: Agent, tensors: Mapping[str, Tensor], *, what: str, prefix: str = ""
) -> None:
    """Restore the result of ``acting_tensors``; ``what`` names the file in messages."""
    start = f"{prefix}agent."
    own = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
    agent.load_tensors(own, what=what)
    checkpoint.load_into(env.classifier, tensors, prefix=f"{prefix}classifier.", what=what)
