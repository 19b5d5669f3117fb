"""A finished run as a library: its recognizer and its agent, and what they make of clips."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from adafocus_rl.agents import Agent
from adafocus_rl.envs import DecisionVectorEnv
from adafocus_rl.experiments.run.handover import blank_env, is_finished, load_agent, load_classifier, load_recognizer
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.steps import CLASSIFIER, RANDOM_PATCHES
from adafocus_rl.features import GivenClips
from adafocus_rl.models.recognizer import Recognizer


def load_trained(path: str | Path, *, device: str | None = None) -> tuple[Recognizer, DecisionVectorEnv, Agent]:
    """Load the recognizer of a run after its last stage, and its agent; the run's data need not be there.

    Args:
        path: the run folder.
        device: where both compute; None takes the run's.

    Returns:
        The recognizer in evaluation mode, the decision problem of the agent (without videos), and the trained agent, or
        one that has nothing to learn.

    Raises:
        UserError: no such run, or stage I or II was not run.
    """
    run = Run.open(path, device=device, with_data=False)
    recognizer = load_recognizer(run, RANDOM_PATCHES.name)
    env = blank_env(run.config, recognizer)
    agent = load_agent(run, env)
    if is_finished(run, CLASSIFIER.name):
        recognizer.classifier, _ = load_classifier(run, CLASSIFIER.name, recognizer.classifier)
    return recognizer, env, agent


@torch.no_grad()
def recognize(recognizer: Recognizer, env: DecisionVectorEnv, agent: Agent, clips: Tensor) -> tuple[Tensor, Tensor]:
    """Recognize clips with the agent's best patches; the first three arguments are what :func:`load_trained` gives.

    Args:
        recognizer: f_G, f_L, f_C; it is put in evaluation mode.
        env: the agent's decision problem: what it observes and chooses.
        agent: who chooses the patches.
        clips: (B, T, 3, S, S), normalised already, or uint8 intensities, which are then normalised. AdaFocus-TSM takes
            T_G + T_L frames, those that f_G looks at first.

    Returns:
        Logits (B, T, K) after each step, of which the last predicts, and actions (B, T) int64 on the grid, or
        (B, T, 2) float32 positions. AdaFocus-TSM has one step.

    Raises:
        UserError: clips of another shape.
    """
    source = GivenClips(recognizer, clips)
    env = env.like(source, recognizer.classifier, num_envs=len(clips))
    episodes = source.episodes(source.videos)
    rollout = env.rollout(agent.bind(env), episodes=episodes, deterministic=True, with_reward=False)
    return rollout.logits, rollout.output.action
