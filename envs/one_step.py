"""Transitions of a decision problem, one step of B episodes at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adafocus_rl.envs.counterfactuals import Counterfactuals, counterfactuals
from adafocus_rl.envs.problem import DecisionProblem
from adafocus_rl.envs.running import Running
from adafocus_rl.envs.spaces import Observation


def begin(problem: DecisionProblem, videos: Tensor, visits: Tensor, seed: int | Sequence[int]) -> Running:
    """Return new episodes, before their first step.

    Args:
        problem: the decision problem.
        videos: (R,) int64 index rows, on CPU.
        visits: (R,) int64 number of earlier visits of each video, on CPU.
        seed: seed of the reward's baseline, for all episodes or one for each.
    """
    episodes = problem.episodes(videos, visits)
    device = problem.source.device
    visits = visits.to(device, non_blocking=True)
    return Running.begin(
        episodes,
        info=problem.info(episodes, visits),
        baseline=problem.baseline(episodes, visits, seed),
        state=problem.initial_state(len(videos)),
        last=problem.spaces.nowhere(len(videos), device=device),
        seen=problem.initial_seen(len(videos)),
    )


@torch.no_grad()
def advance(problem: DecisionProblem, running: Running, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Advance each episode by one frame; return the rewards (B,) and f_C's logits (B, K)."""
    episodes, at, action = running.episodes, running.at, actions[:, None]
    vector = running.current(episodes.global_vector)[:, None]
    local = problem.local(episodes, at, action)
    state = problem.classifier.cell(problem.inputs(vector, local)[:, 0], running.state)
    baseline = running.current(running.baseline)[:, None]
    reward = problem.rewards(episodes, at, vector, running.state[:, None], state[:, None], baseline, action)[:, 0]
    seen = problem.see(episodes, at, action, running.seen)
    running.advance(state=state, last=problem.positions(episodes, at, action)[:, 0], seen=seen, reward=reward)
    return reward, problem.classifier.logits(state)


def outcomes(problem: DecisionProblem, running: Running) -> Counterfactuals:
    """Return the outcomes of all actions in the current frames, (B, 1, A), with f_C's next states."""
    vector, baseline = (running.current(x)[:, None] for x in (running.episodes.global_vector, running.baseline))
    history = running.state[:, None]
    return counterfactuals(problem, running.episodes, running.at, vector, history, baseline, with_states=True)


def observe(problem: DecisionProblem, running: Running) -> Observation:
    """Return the current observations (B, …)."""
    features = running.current(problem.spaces.features(running.episodes))
    return problem.observe(features, running.last, running.frame / running.episodes.num_steps, running.seen)


def boxes_seen(problem: DecisionProblem, running: Running, actions: Tensor) -> Tensor:
    """Return the boxes (B, 4) in pixels of f_L's inputs after the last actions (B, …); empty where f_L was not run."""
    before = (running.frame - 1).clamp_min(0)[:, None]
    action = actions[:, None]
    return (problem.boxes(running.episodes, before, action) * problem.kept(action)[..., None])[:, 0]
