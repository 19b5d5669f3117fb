"""A policy that acts frame by frame, with everything that its next observation depends on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from adafocus_rl.envs.problem import DecisionProblem
from adafocus_rl.envs.rollout import Info, PolicyOutput
from adafocus_rl.features.source import EpisodeFeatures


class Turns:
    """The turns of a policy in B episodes, one frame at a time.

    Args:
        problem: the decision problem.
        act_step: the policy as ``StepPolicy.act_step``.
        count: B.

    Attributes:
        action: (B, …) the last actions, checked and in the problem's space.
        last: (B, 2 or 3) positions of the last patches, as observed.
        seen: (B, S) what observations know of previous frames (``DecisionProblem.see``).
    """

    def __init__(
        self, problem: DecisionProblem, act_step: Callable[..., tuple[PolicyOutput, Any]], *, count: int
    ) -> None:
        self.problem = problem
        self.last = problem.spaces.nowhere(count, device=problem.source.device)
        self.seen = problem.initial_seen(count)
        self.action: Tensor | None = None
        self._act_step = act_step
        self._state: Any = None

    def act(
        self,
        episodes: EpisodeFeatures,
        features: Tensor,
        when: Tensor,
        time_step: Tensor,
        info: Info,
        *,
        deterministic: bool,
    ) -> PolicyOutput:
        """Observe the next frame, act, and return the policy's output.

        Args:
            episodes: features of the B videos.
            features: (B, C, h, w) or (B, D_G), the observed features of the frame.
            when: (B, 1) int64, the number of the frame in ``episodes``.
            time_step: (B,) float32, the share of the frames that have passed.
            info: facts about the videos, passed on to the policy.
            deterministic: take the best actions instead of samples.

        Raises:
            UserError: the policy's actions are not in the problem's space.
        """
        problem = self.problem
        observation = problem.observe(features, self.last, time_step, self.seen)
        output, self._state = self._act_step(observation, self._state, info, deterministic=deterministic)
        self.action = problem.check_actions(output.action, (len(when),))
        chosen = self.action[:, None]
        self.last = problem.positions(episodes, when, chosen)[:, 0]
        self.seen = problem.see(episodes, when, chosen, self.seen)
        return output
