"""Online recognition: a method that gets one frame at a time and keeps its state between frames."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from adafocus_rl.agents.base import Agent
from adafocus_rl.agents.methods.outcome import Cost, Steps
from adafocus_rl.envs import DecisionVectorEnv, FrameSkippingVectorEnv
from adafocus_rl.envs.rollout import PolicyOutput
from adafocus_rl.envs.skippable import SkippableEpisodes
from adafocus_rl.envs.turns import Turns
from adafocus_rl.errors import UserError
from adafocus_rl.features import EpisodeFeatures
from adafocus_rl.models.recognizer import Recognizer


class Stream(ABC):
    """Online recognition of B streams; ``Method.stream`` creates one.

    After T frames, the logits equal those of ``Method.run`` on clips of these frames. A stream may be longer than a
    clip, and its state has a constant size.
    """

    @abstractmethod
    def step(self, frame: EpisodeFeatures) -> Steps:
        """Process the next frame.

        Args:
            frame: features of the next frame of B videos, as clips of one frame.

        Returns:
            The trace (B, 1) of this frame.
        """

    @property
    def over(self) -> Tensor | None:
        """(B,) bool, where the method has stopped by a rule of its own; None for methods without one."""
        return None


def check_single_frames(recognizer: Recognizer, label: str) -> None:
    """Check that the encoders process frame by frame.

    Raises:
        UserError: if they process a clip as a whole.
    """
    if recognizer.clip_frames is not None:
        raise UserError(
            f"{label} cannot recognise frame by frame: the encoders of this run process the frames of a whole clip "
            "together; use a run whose encoders process single frames"
        )


class ActingStream(Stream):
    """AdaFocus and AdaFocus+ online: the states of π, of π′ and of f_C, and the place of the last patch.

    In observations with a time step, it is 1 from the frame T on, where T is the number of frames of the run's clips.

    Args:
        env: the environment, which defines observations and actions, with the f_C that makes the predictions.
        agent: the agent that acts in it.
        cost: cost of a frame.
        count: B.
    """

    def __init__(self, env: DecisionVectorEnv, agent: Agent, *, cost: Cost, count: int) -> None:
        self.env = env
        self.cost = cost
        self.problem = env.problem
        self._number = 0
        self._classifier_state = self.problem.initial_state(count)
        self._turns = Turns(self.problem, agent.act_online, count=count)
        self._patches: Turns | None = None
        if isinstance(env, FrameSkippingVectorEnv):
            policy = env.policy
            step = policy.act_online if isinstance(policy, Agent) else policy.act_step  # type: ignore[union-attr]
            self._patches = Turns(env.patches.problem, step, count=count)

    @torch.no_grad()
    def step(self, frame: EpisodeFeatures) -> Steps:
        """Select the next frame's patch, decide whether f_L runs on it, and update f_C."""
        problem = self.problem
        known = None
        if self._patches is not None:
            patch, output = self._act(self._patches, frame)
            known = output.probabilities
            frame = SkippableEpisodes(frame, patch)
        action, output = self._act(self._turns, frame)
        known = output.probabilities if self._patches is None else known
        self._number += 1
        at = problem.all_steps(frame)
        inputs = problem.inputs(frame.global_vector, problem.local(frame, at, action))
        self._classifier_state = problem.classifier.cell(inputs[:, 0], self._classifier_state)
        return Steps.of_patches(
            self.env.source.grid,
            logits=problem.classifier.logits(self._classifier_state)[:, None],
            boxes=problem.boxes(frame, at, action),
            cost=self.cost,
            kept=problem.kept(action) if problem.skips_frames else None,
            probabilities=None if known is None else known[:, None],
        )

    def _act(self, turns: Turns, frame: EpisodeFeatures) -> tuple[Tensor, PolicyOutput]:
        """Return the actions (B, 1, …) in the frame, and the policy's output."""
        problem = turns.problem
        share = min(1.0, self._number / problem.source.num_steps)
        output = turns.act(
            frame,
            problem.spaces.features(frame)[:, 0],
            problem.all_steps(frame),
            torch.full((len(frame),), share, device=problem.source.device),
            problem.info(frame, torch.zeros_like(frame.videos)),
            deterministic=True,
        )
        assert turns.action is not None
        return turns.action[:, None], output
