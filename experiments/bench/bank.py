"""``adafocus bench bank``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from adafocus_rl.experiments.bench.timing import Timing, compare
from adafocus_rl.experiments.bench.tiny_run import env_and_agent, tiny_run
from adafocus_rl.experiments.run.features import open_bank
from adafocus_rl.features import FeatureSource, LiveFeatures


def bench_bank(device: torch.device) -> Timing:
    """Make one pass of rollouts with features from the bank, against those from the encoders, decoding included."""
    with tempfile.TemporaryDirectory() as folder:
        run, recognizer = tiny_run(Path(folder), device)
        live = LiveFeatures(recognizer, run.clips.val, device=device)
        bank = open_bank(run, recognizer, "val")

        def one_pass(source: FeatureSource) -> Callable[[], None]:
            env, agent = env_and_agent(run, recognizer, source)

            def train() -> None:
                for _ in env.rollouts(agent, epoch=0):
                    pass

            return train

        return compare("bank", ("bank", one_pass(bank)), ("live", one_pass(live)), device)
