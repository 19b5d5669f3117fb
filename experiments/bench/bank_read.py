"""``adafocus bench bank-read``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import torch

from adafocus_rl.agents import PPOAgent
from adafocus_rl.envs import PatchSelectionVectorEnv
from adafocus_rl.experiments.bench.synthetic import LOCAL_DIM, MAPS, paper_bank
from adafocus_rl.experiments.bench.timing import Timing, compare
from adafocus_rl.features import FeatureBank
from adafocus_rl.models.classifiers import create_classifier
from adafocus_rl.seeding import seed_all

CLASSES = 200

SIZES = 96, 32
"""Videos of the bank, and in a batch."""

SIZES_ON_CUDA = 512, 64
"""The same where there is a GPU, which needs less time for them."""

PATCHES = 2
"""Patches read in each frame: the selected one, and a random one for the reward."""


def bench_bank_read(device: torch.device) -> Iterator[Timing]:
    """Read a bank of the paper's sizes from memory-mapped files in the page cache, against one held on the device.

    Each round is a pass over all videos in batches of whole episodes: maps, vectors, and the features of some patches
    are read; alone, and with PPO's rollout and update on each batch.
    """
    videos, batch = SIZES_ON_CUDA if device.type == "cuda" else SIZES
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "bank"
        paper_bank(folder, videos=videos, device=device, classes=CLASSES)
        mapped = FeatureBank(folder, device=device, resident="never")
        resident = FeatureBank(folder, device=device, resident="always")
        for what, use in (("reading alone", _reading), ("with PPO", _training)):
            both = ("mapped", use(mapped, batch)), ("resident", use(resident, batch))
            yield compare(f"bank-read, {what}", *both, device)


def _reading(bank: FeatureBank, batch: int) -> Callable[[], object]:
    """Return a function that reads what one pass of PPO reads."""
    epochs = count()
    random = torch.Generator().manual_seed(0)
    actions = torch.randint(bank.grid.num_actions, (batch, bank.num_steps, PATCHES), generator=random).to(bank.device)

    def one_pass() -> None:
        for episodes in bank.batches(batch, epoch=next(epochs)):
            # Each property reads.
            _ = episodes.global_map, episodes.global_vector, episodes.local(actions[: len(episodes)])

    return one_pass


def _training(bank: FeatureBank, batch: int) -> Callable[[], object]:
    """Return a function that trains an agent for one pass."""
    seed_all("bench bank-read")
    classifier = create_classifier("gru", input_dim=MAPS[0] + LOCAL_DIM, num_classes=CLASSES, hidden=1024, dropout=0.0)
    env = PatchSelectionVectorEnv(bank, classifier.to(bank.device).eval().requires_grad_(False), num_envs=batch)
    agent, epochs = PPOAgent(env), count()
    return lambda: agent.train_epoch(env, next(epochs), epochs=1_000_000)
