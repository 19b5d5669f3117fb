"""``adafocus bench single-env``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import gymnasium
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode

from adafocus_rl.envs import PatchSelectionEnv, PatchSelectionVectorEnv
from adafocus_rl.experiments.bench.timing import Timing, compare
from adafocus_rl.experiments.bench.tiny_run import tiny_run
from adafocus_rl.experiments.run.features import open_bank

EPISODES = 16
"""Number of episodes in a measurement."""


def bench_single_env(device: torch.device) -> Timing:
    """Step the single environment with NumPy, as ``gymnasium.make`` wraps it, against the vector one with B = 1."""
    with tempfile.TemporaryDirectory() as folder:
        run, recognizer = tiny_run(Path(folder), device)
        bank = open_bank(run, recognizer, "val")

        def vector_env(mode: AutoresetMode) -> PatchSelectionVectorEnv:
            return PatchSelectionVectorEnv(bank, recognizer.classifier, num_envs=1, shuffle=False, autoreset_mode=mode)

        def single_env(**_: Any) -> PatchSelectionEnv:
            return PatchSelectionEnv(vector_env(AutoresetMode.DISABLED))

        vector = vector_env(AutoresetMode.SAME_STEP)
        single = gymnasium.make(EnvSpec("Single-v0", entry_point=single_env))
        actions = [step % bank.grid.num_actions for step in range(bank.num_steps)]
        batches = [torch.tensor([action], device=device) for action in actions]

        def one() -> None:
            for _ in range(EPISODES):
                single.reset()
                for action in actions:
                    single.step(action)

        def many() -> None:
            vector.reset()
            for _ in range(EPISODES):
                for batch in batches:
                    vector.step(batch)

        return compare("single-env", ("single environment", one), ("vector environment, B = 1", many), device)
