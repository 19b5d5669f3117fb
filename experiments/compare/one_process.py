"""What a job of a comparison does differently from a run of its own, because several may run at once."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import torch

from adafocus_rl.experiments.config.experiment import ExperimentConfig
from adafocus_rl.files import naming
from adafocus_rl.folders import make_folders

LOG = "log.txt"
"""Name of the file in a job's folder to which its messages go."""


@contextlib.contextmanager
def own_log(folder: Path) -> Iterator[None]:
    """Append the messages within the block to ``log.txt`` in a folder, which is created if missing.

    The number of torch threads, which the job sets for itself, is restored afterwards.
    """
    make_folders(folder)
    threads = torch.get_num_threads()
    path = folder / LOG
    with naming(path), path.open("a", encoding="utf-8") as log, contextlib.redirect_stderr(log):
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def config_of_job(config: ExperimentConfig, seed: int) -> ExperimentConfig:
    """Return a configuration with another seed, for one of several processes.

    Each process uses one torch thread, so that a result does not depend on how many run.
    """
    bank = config.bank
    if not torch.cuda.is_available() or config.device == "cpu":
        # Memory-mapped files are read once for all processes, and as fast as copies in memory.
        bank = dataclasses.replace(bank, resident="never")
    # Replay pictures show the progress of a single run, not of forty parallel trainings.
    evaluation = dataclasses.replace(config.evaluation, replay_every=0)
    return dataclasses.replace(config, seed=seed, threads=1, bank=bank, evaluation=evaluation)
