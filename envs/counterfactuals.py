"""What every action would lead to from the same history: probabilities, rewards, and f_C's next states.

A feature bank holds f_L's features of every patch, so the outcome of each action in each state can be computed without
f_L. All A successors of a state share f_C's product with the state and, on a bank, the products with the features
(``BankProducts``), so they cost little more than the logits of A states.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import gymnasium as gym
import torch
from torch import Tensor

from adafocus_rl.envs.problem import DecisionProblem
from adafocus_rl.envs.rewards import MAX_CELL_ROWS, RewardContext
from adafocus_rl.errors import UserError
from adafocus_rl.features.source import EpisodeFeatures


@dataclass(frozen=True, kw_only=True)
class Counterfactuals:
    """The outcomes of all A actions in M frames of B episodes."""

    probability: Tensor
    """(B, M, A) float32, probability of the true class after each action."""

    reward: Tensor
    """(B, M, A) float32, reward of each action."""

    states: Tensor | None = None
    """(B, M, A, H), f_C's state after each action; None unless it was requested."""


def _cached_rows(device: torch.device) -> int:
    """Return how many cells to compute at a time: on a CPU, as many as leave their products in the cache."""
    return 256 if device.type == "cpu" else MAX_CELL_ROWS


class _EveryAction(RewardContext):
    """The N · A transitions of all A actions from N states; what does not depend on the action is computed once."""

    def __init__(self, one: RewardContext, *, states: Tensor, probability: Tensor, compares_with_every: bool) -> None:
        # The constructor of ``RewardContext`` is not called: copies of what is large are made when a reward reads them.
        count = self.count = states.shape[1]
        self.one = one
        self.each = probability
        self.compares_with_every = compares_with_every
        self.classifier = one.classifier
        self.labels = one.labels.repeat_interleave(count)
        self.state = states.flatten(0, 1)
        self.local = lambda options: one.local(options[::count]).repeat_interleave(count, dim=0)
        self._projected = lambda options: one._projected(options[::count]).repeat_interleave(count, dim=0)
        self.local_dim = one.local_dim
        self.baseline_actions = one.baseline_actions.repeat_interleave(count, dim=0)
        self.action = torch.arange(count, device=states.device).repeat(len(states))
        self.final = one.final.repeat_interleave(count)

    @cached_property
    def history(self) -> Tensor:  # type: ignore[override]  # a cached property can be written, too
        return self.one.history.repeat_interleave(self.count, dim=0)

    @cached_property
    def global_vector(self) -> Tensor:  # type: ignore[override]
        return self.one.global_vector.repeat_interleave(self.count, dim=0)

    @cached_property
    def shared(self) -> Tensor:
        return self.one.shared.repeat_interleave(self.count, dim=0)

    @cached_property
    def chosen(self) -> Tensor:
        return self.each.flatten()

    @cached_property
    def previous(self) -> Tensor:
        return self.one.previous.repeat_interleave(self.count)

    def with_actions(self, actions: Tensor) -> Tensor:
        if actions is not self.baseline_actions:
            return super().with_actions(actions)
        alone = self.each if self.compares_with_every else self.one.with_actions(self.one.baseline_actions)
        return alone.repeat_interleave(self.count, dim=0)


@torch.no_grad()
def counterfactuals(
    problem: DecisionProblem,
    episodes: EpisodeFeatures,
    when: Tensor,
    vector: Tensor,
    history: Tensor,
    baseline: Tensor,
    *,
    with_states: bool = False,
) -> Counterfactuals:
    """Return the outcomes of all actions in the frames ``when`` (B, M), each from its own history.

    Args:
        problem: the decision problem, with discrete actions.
        episodes: features of B videos, prepared for the problem.
        when: (B, M) int64, the frames.
        vector: (B, M, D_G), their global vectors.
        history: (B, M, H), f_C's states before them.
        baseline: (B, M, K), the baseline's actions in these frames.
        with_states: also return f_C's next states, which take B · M · A · H numbers.

    Raises:
        UserError: the actions are continuous.
    """
    if not isinstance(problem.action_space, gym.spaces.Discrete):
        raise UserError(
            f"counterfactuals are outcomes of all actions, but the action space is {problem.action_space}; use grid "
            "actions (env.action_space=grid)"
        )
    count = int(problem.action_space.n)
    # In parts: the states of all actions of whole episodes can be larger than the memory.
    frames = max(1, MAX_CELL_ROWS // (count * len(when)))
    parts = [
        _outcomes(problem, episodes, *part, with_states=with_states)
        for part in zip(*(x.split(frames, dim=1) for x in (when, vector, history, baseline)), strict=True)
    ]
    return Counterfactuals(
        probability=torch.cat([part.probability for part in parts], dim=1),
        reward=torch.cat([part.reward for part in parts], dim=1),
        states=torch.cat([part.states for part in parts if part.states is not None], dim=1) if with_states else None,
    )


def _outcomes(
    problem: DecisionProblem,
    episodes: EpisodeFeatures,
    when: Tensor,
    vector: Tensor,
    history: Tensor,
    baseline: Tensor,
    *,
    with_states: bool,
) -> Counterfactuals:
    assert isinstance(problem.action_space, gym.spaces.Discrete)
    classifier, count = problem.classifier, int(problem.action_space.n)
    shape = (*when.shape, count)
    every = torch.arange(count, device=when.device).expand(shape)
    inputs = problem.projected_every(episodes, when, every).flatten(0, 1)
    shared = problem.projected_vector(episodes, when, vector).flatten(0, 1)
    before = history.flatten(0, 1)
    rows = max(1, _cached_rows(inputs.device) // count)
    split = zip(inputs.split(rows), shared.split(rows), before.split(rows), strict=True)
    states = torch.cat([classifier.projected_cells(*part) for part in split])
    one = problem.context(
        episodes, when, vector, history, states[:, 0].unflatten(0, when.shape), baseline, every[..., 0]
    )
    labels = one.labels[:, None].expand(-1, count)
    probability = one.probability(states, labels)
    context = _EveryAction(one, states=states, probability=probability, compares_with_every=problem.compares_with_every)
    return Counterfactuals(
        probability=probability.view(shape),
        reward=problem.reward(context).view(shape).float(),
        states=states.view(*shape, -1) if with_states else None,
    )
