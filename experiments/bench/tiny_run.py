"""An untrained run on a few small videos, for benchmarks whose speed does not depend on the weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from gymnasium.vector import AutoresetMode

from adafocus_rl.agents import PPOAgent
from adafocus_rl.envs import PatchSelectionVectorEnv
from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.experiments.config.recipe_files import find_recipe
from adafocus_rl.experiments.config.stages import StillsConfig
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.features import FeatureSource
from adafocus_rl.models.recognizer import Recognizer

VIDEOS = 32
"""Number of videos in the run's validation list."""


def tiny_run(folder: Path, device: torch.device) -> tuple[Run, Recognizer]:
    """Return an untrained run of the moving digits recipe on a few new videos."""
    settings = load_settings(find_recipe("moving_digits"))
    config = settings.config
    options = {**config.data.embedded_options, "train_videos": 1, "val_videos": VIDEOS, "still_videos": 0}
    data = dataclasses.replace(config.data, root=str(folder / "data"), embedded_options=options, workers=0)
    config = dataclasses.replace(
        config,
        device=str(device),
        data=data,
        model=dataclasses.replace(config.model, num_classes=10),
        stage0=dataclasses.replace(config.stage0, stills=StillsConfig()),
    )
    run = Run(RunFolder(folder / "run"), config)
    return run, run.new_recognizer().eval()


def env_and_agent(run: Run, recognizer: Recognizer, source: FeatureSource) -> tuple[PatchSelectionVectorEnv, PPOAgent]:
    """Return an environment in which all videos of a source play at once, and an agent with new weights for it."""
    env = PatchSelectionVectorEnv(
        source, recognizer.classifier, num_envs=len(source.videos), shuffle=False,
        autoreset_mode=AutoresetMode.DISABLED,
    )  # fmt: skip
    agent = run.new_agent(env)
    assert isinstance(agent, PPOAgent)
    return env, agent
