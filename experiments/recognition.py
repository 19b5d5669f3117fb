"""A finished run as a library: a recognizer, an agent, and what they make of clips."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from adafocus_rl.agents import Agent
from adafocus_rl.envs import PatchSelectionVectorEnv
from adafocus_rl.experiments.config.experiment import AgentConfig, ExperimentConfig
from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.experiments.run.folder import open_run
from adafocus_rl.features import GivenClips
from adafocus_rl.models.recognizer import Recognizer


def load_agent(run: str | Path, recognizer: Recognizer) -> Agent:
    """The agent of a run; its data need not be there.

    Args:
        run: the folder.
        recognizer: the run's, from :meth:`Recognizer.load`; where it is, the agent goes.

    Returns:
        The trained agent, or one that has nothing to learn.

    Raises:
        UserError: no such run, or stage II was not run.
    """
    folder = open_run(run)
    settings = load_settings(folder.config)
    agent = blank_agent(settings.config, settings.agent, recognizer)
    return type(agent).load(folder.checkpoint("stage2"), agent.env) if agent.learns else agent


def blank_agent(config: ExperimentConfig, agent: AgentConfig, recognizer: Recognizer) -> Agent:
    """The agent that a configuration names, untrained, on an environment of the right sizes without videos."""
    side = recognizer.grid.frame_size
    source = GivenClips(recognizer, torch.zeros(1, config.data.num_frames, 3, side, side, dtype=torch.uint8))
    env = PatchSelectionVectorEnv(
        source, recognizer.classifier, num_envs=1, reward=config.env.reward, seed=config.seed, **config.env.options()
    )
    return agent.make(env, seed=config.seed)


@torch.no_grad()
def recognize(recognizer: Recognizer, agent: Agent, clips: Tensor) -> tuple[Tensor, Tensor]:
    """What a recognizer and an agent make of clips: the agent's best patches, and f_C's logits after each frame.

    Args:
        recognizer: f_G, f_L, f_C; it is put in evaluation mode.
        agent: who chooses the patches; of :func:`load_agent`.
        clips: (B, T, 3, S, S), normalised already, or uint8 intensities, which are then normalised. AdaFocus-TSM takes
            T_G + T_L frames, those that f_G looks at first.

    Returns:
        Logits (B, T, K) after each step, of which the last predicts, and actions (B, T) int64 on the grid, or
        (B, T, 2) float32 positions. AdaFocus-TSM has one step.

    Raises:
        UserError: clips of another shape.
    """
    source = GivenClips(recognizer, clips)
    env = agent.env.like(source, recognizer.classifier, num_envs=len(clips))
    episodes = source.episodes(source.videos)
    rollout = env.rollout(agent.bind(env), episodes=episodes, deterministic=True, with_reward=False)
    return rollout.logits, rollout.output.action
