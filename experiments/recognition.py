"""A finished run as a library: load its recognizer and agent, and recognise clips with them."""

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
    """Load the recognizer of a run after its last stage, and its agent; the run's data is not needed.

    Args:
        path: the run folder.
        device: device of both; None uses the run's.

    Returns:
        The recognizer in evaluation mode, the agent's decision problem (without videos), and the agent, trained unless
        it has nothing to learn.

    Raises:
        UserError: if there is no such run, or stage I or II was not run.
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
    """Recognise clips with the agent's best patches; the first three arguments come from ``load_trained``.

    Args:
        recognizer: f_G, f_L, f_C; put in evaluation mode.
        env: the agent's decision problem, which defines its observations and actions.
        agent: the agent that selects the patches.
        clips: (B, T, 3, S, S), either normalised, or uint8 intensities, which are then normalised. AdaFocus-TSM takes
            T_G + T_L frames, f_G's first.

    Returns:
        Logits (B, T, K) after each step, of which the last are the prediction, and actions (B, T) int64 on the grid, or
        (B, T, 2) float32 positions. AdaFocus-TSM has one step.

    Raises:
        UserError: if the clips have another shape.
    """
    source = GivenClips(recognizer, clips)
    env = env.like(source, recognizer.classifier, num_envs=len(clips))
    episodes = source.episodes(source.videos)
    rollout = env.rollout(agent.bind(env), episodes=episodes, deterministic=True, with_reward=False)
    return rollout.logits, rollout.output.action
