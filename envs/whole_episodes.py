"""Whole episodes of a decision problem at once, without a Python loop over time or batch.

The numbers equal those of ``adafocus_rl.envs.one_step``, which computes them step by step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adafocus_rl.envs.counterfactuals import Counterfactuals, counterfactuals
from adafocus_rl.envs.problem import DecisionProblem
from adafocus_rl.envs.rollout import Info, Policy, PolicyOutput, Rollout, StepPolicy
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.envs.turns import Turns
from adafocus_rl.errors import UserError
from adafocus_rl.features.source import EpisodeFeatures


@torch.no_grad()
def roll_out(
    problem: DecisionProblem,
    policy: Policy | StepPolicy,
    episodes: EpisodeFeatures,
    visits: Tensor,
    *,
    seed: int | Sequence[int],
    deterministic: bool = False,
    with_reward: bool = True,
) -> Rollout:
    """Return B whole episodes.

    This takes one sequence call of the policy, one of f_C, and one batched cell call for all baselines of the reward,
    from the states before each step.

    Args:
        problem: the decision problem.
        policy: the policy that acts.
        episodes: features of B videos, of any source.
        visits: (B,) int64 number of earlier visits of each video, on the features' device.
        seed: seed of the reward's baseline, for all episodes or one for each.
        deterministic: take the policy's best actions instead of samples.
        with_reward: False skips the reward and its baseline.

    Raises:
        UserError: as for ``decide``, or the policy's actions are not in the problem's space.
    """
    episodes = problem.prepare(episodes)
    info = info_for(policy, problem, episodes, visits)
    observation, output = decide(problem, policy, episodes, info, deterministic=deterministic)
    vector, when = episodes.global_vector, problem.all_steps(episodes)
    action = problem.check_actions(output.action, tuple(when.shape))
    states = states_after(problem, episodes, when, action)
    reward = vector.new_zeros(len(episodes), 0)
    if with_reward:
        history = histories(problem, states)
        baseline = problem.baseline(episodes, visits, seed)
        reward = problem.rewards(episodes, when, vector, history, states, baseline, action)
    return Rollout(
        episodes=episodes,
        info=info,
        observation=observation,
        output=output,
        reward=reward,
        logits=problem.classifier.logits(states),
        states=states,
    )


def states_after(problem: DecisionProblem, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
    """Return f_C's states (B, T, H) after every step, on episodes prepared for the problem.

    Args:
        problem: the decision problem.
        episodes: features of B videos.
        when: (B, T), the result of ``problem.all_steps``.
        action: (B, T, …), the actions.
    """
    local = problem.local(episodes, when, action)
    return problem.classifier.sequence(problem.inputs(episodes.global_vector, local))


def histories(problem: DecisionProblem, states: Tensor) -> Tensor:
    """Return f_C's states before every step, (B, T, H), from those after every step."""
    return torch.cat((problem.initial_state(len(states))[:, None], states[:, :-1]), dim=1)


def outcomes(
    problem: DecisionProblem,
    episodes: EpisodeFeatures,
    states: Tensor,
    visits: Tensor,
    *,
    seed: int | Sequence[int],
    with_states: bool = False,
) -> Counterfactuals:
    """Return the outcomes of all A actions in every frame of whole episodes.

    Args:
        problem: the decision problem, with discrete actions.
        episodes: features of B videos, prepared for the problem.
        states: (B, T, H), f_C's states after every step of the history.
        visits: (B,) int64, how often each video was seen before.
        seed: seed of the reward's baseline.
        with_states: also return f_C's next states, (B, T, A, H).

    Raises:
        UserError: the actions are continuous.
    """
    return counterfactuals(
        problem,
        episodes,
        problem.all_steps(episodes),
        episodes.global_vector,
        histories(problem, states),
        problem.baseline(episodes, visits, seed),
        with_states=with_states,
    )


@torch.no_grad()
def outcomes_of_actions(
    problem: DecisionProblem, episodes: EpisodeFeatures, action: Tensor, visits: Tensor, *, seed: int | Sequence[int]
) -> Counterfactuals:
    """Return the outcomes of all A actions in every frame, from the history that given actions lead to.

    Args:
        problem: the decision problem, with discrete actions.
        episodes: features of B videos, of any source.
        action: (B, T) int64, the actions of the history.
        visits: (B,) int64, how often each video was seen before.
        seed: seed of the reward's baseline.

    Raises:
        UserError: the actions are continuous.
    """
    episodes = problem.prepare(episodes)
    states = states_after(problem, episodes, problem.all_steps(episodes), action)
    return outcomes(problem, episodes, states, visits, seed=seed)


def info_for(policy: Policy | StepPolicy, problem: DecisionProblem, episodes: EpisodeFeatures, visits: Tensor) -> Info:
    """Return facts about B videos for a policy; ``motion``, which takes time to compute, only if it reads that."""
    return problem.info(episodes, visits, with_motion=getattr(policy, "reads_motion", True))


@torch.no_grad()
def decide(
    problem: DecisionProblem,
    policy: Policy | StepPolicy,
    episodes: EpisodeFeatures,
    info: Info,
    *,
    deterministic: bool,
) -> tuple[Observation, PolicyOutput]:
    """Return a policy's observations and actions in whole episodes.

    The policy is called once for whole episodes if observations are exogenous, and once per frame otherwise.

    Args:
        problem: the decision problem.
        policy: a ``Policy``, or a ``StepPolicy`` if observations depend on the policy's own actions.
        episodes: features of B episodes.
        info: facts about the videos.
        deterministic: take the best actions instead of samples.

    Returns:
        Observations (B, T, …), and the policy's output.

    Raises:
        UserError: the policy must act frame by frame and has no ``act_step``.
    """
    if hasattr(policy, "looking_at"):  # a FeaturePolicy; ``isinstance`` of a protocol takes ten times longer
        policy = policy.looking_at(problem, episodes)
    spaces = problem.spaces
    features = spaces.features(episodes)
    count, frames = features.shape[:2]
    share = torch.arange(frames, device=features.device) / frames
    if problem.exogenous:
        seen = problem.initial_seen(count)[:, None].expand(-1, frames, -1)
        observation = problem.observe(features, problem.past(episodes), share.expand(count, -1), seen)
        assert hasattr(policy, "act")
        return observation, policy.act(observation, info, deterministic=deterministic)
    if not isinstance(policy, StepPolicy):
        raise UserError(
            f"{type(policy).__name__} takes the observations of whole episodes, but with {problem.feedback} they "
            f"depend on its own choices; give it a method act_step, or leave {problem.feedback} out"
        )
    when, turns = problem.all_steps(episodes), Turns(problem, policy.act_step, count=count)
    last, known, outputs = [], [], []
    for frame in range(frames):
        last.append(turns.last)
        known.append(turns.seen)
        at, passed = when[:, frame : frame + 1], share[frame].expand(count)
        outputs.append(turns.act(episodes, features[:, frame], at, passed, info, deterministic=deterministic))
    before, seen = (torch.stack(parts, dim=1) for parts in (last, known))
    return problem.observe(features, before, share.expand(count, -1), seen), _whole(outputs)


def _whole(outputs: Sequence[PolicyOutput]) -> PolicyOutput:
    """Stack the outputs of single frames along the axis T."""

    def stack(parts: Sequence[Tensor | None]) -> Tensor | None:
        known = [part for part in parts if part is not None]
        return torch.stack(known, dim=1) if len(known) == len(parts) else None

    return PolicyOutput(
        action=torch.stack([output.action for output in outputs], dim=1),
        log_prob=stack([output.log_prob for output in outputs]),
        value=stack([output.value for output in outputs]),
        sample=stack([output.sample for output in outputs]),
        probabilities=stack([output.probabilities for output in outputs]),
    )
