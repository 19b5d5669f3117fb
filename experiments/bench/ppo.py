"""``adafocus bench ppo``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from adafocus_rl.agents import Agent, PPOAgent, SB3Agent, SB3Options
from adafocus_rl.agents.policies.options import Precision
from adafocus_rl.envs import PatchSelectionVectorEnv, RewardConfig
from adafocus_rl.experiments.bench.published_loop import PublishedLoop
from adafocus_rl.experiments.bench.synthetic import LOCAL_DIM, MAPS, paper_bank
from adafocus_rl.experiments.bench.timing import Timing, compare
from adafocus_rl.features import FeatureBank
from adafocus_rl.models.classifiers import Classifier, create_classifier
from adafocus_rl.seeding import seed_all

CLASSES = 200

HIDDEN = 1024
"""Width of the recurrent networks, of Stable-Baselines3's, too."""

BATCH = 64
"""Videos in a batch of the paper."""

ON_CUDA = (256, 1024)
"""Further numbers of videos in a batch, where there is a GPU."""

LIVE_VIDEOS = 16
"""Videos of the published loop, which runs one of their frames in each round."""


def bench_ppo(device: torch.device) -> Iterator[Timing]:
    """Train π by PPO at the paper's sizes, on a resident bank of random features.

    Each round is a pass over the same environment steps, with rollout and one update per batch. ``PPOAgent`` is
    compared with RecurrentPPO and PPO of Stable-Baselines3 on the same environment, which also make one update with the
    whole batch, and with the published loop with live f_L, of which some frames are run and the time is scaled to all.
    Besides, against float32 with one random position as the reward's baseline and 64 videos a batch: faster precisions;
    the mean over all positions as the baseline, with 50 states for each step; and, on a GPU, larger batches.

    Args:
        device: device to run on.
    """
    sizes = (BATCH, *ON_CUDA) if device.type == "cuda" else (BATCH,)
    with tempfile.TemporaryDirectory() as made:
        few = paper_bank(Path(made) / "few", videos=BATCH, device=device)
        many = few if len(sizes) == 1 else paper_bank(Path(made) / "many", videos=max(sizes), device=device)
        steps = len(many.videos) * many.num_steps
        paper = "float32, one random position", _ours(many)
        live = _published(few)
        for name in ("RecurrentPPO", "PPO"):
            yield against_sb3(name, few, many)
        yield compare(
            "ppo, live f_L",
            ("PPOAgent", paper[1]),
            ("published loop", live),
            device,
            steps=steps,
            slow_share=live.steps / steps,
        )
        for variant, choices in _variants(sizes).items():
            # One after the other: on a GPU, each keeps the memory of its CUDA graph.
            yield compare(f"ppo, {variant}", (variant, _ours(many, **choices)), paper, device, steps=steps)


def _variants(sizes: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Return what is compared with PPO in float32 on batches of 64 videos: arguments of ``_ours`` by name."""
    every = RewardConfig(baseline_positions=0)
    if len(sizes) == 1:
        return {"bfloat16": {"precision": "bfloat16"}, "all positions as baseline": {"reward": every}}
    found: dict[str, dict[str, Any]] = {}
    for size in sizes:
        for precision in get_args(Precision):
            if (precision, size) != ("float32", BATCH):
                found[f"{precision}, {size} videos a batch"] = {"precision": precision, "videos": size}
        for precision in ("float32", "tf32"):
            name = f"all positions as baseline, {precision}, {size} videos a batch"
            found[name] = {"precision": precision, "videos": size, "reward": every}
    return found


def against_sb3(name: Literal["PPO", "RecurrentPPO"], few: FeatureBank, many: FeatureBank) -> Timing:
    """Compare ``PPOAgent`` on a bank with an algorithm of Stable-Baselines3 on another, with as many videos a batch."""
    env = _env(few)
    one_update = {"n_epochs": 1, "batch_size": BATCH * few.num_steps}
    agent = SB3Agent(env, SB3Options(algorithm=name, hidden=HIDDEN, options=one_update))
    return compare(
        f"ppo, {BATCH} videos a batch",
        ("PPOAgent", _ours(many)),
        (name, _one_pass(agent, env)),
        many.device,
        steps=len(many.videos) * many.num_steps,
        slow_share=len(few.videos) / len(many.videos),
    )


def _ours(
    bank: FeatureBank,
    *,
    videos: int | None = None,
    reward: RewardConfig | None = None,
    precision: Precision = "float32",
) -> Callable[[], object]:
    """Return a function that makes the next pass of a new ``PPOAgent``."""
    env = _env(bank, videos=videos, reward=reward)
    agent = PPOAgent(env)
    agent.precision = precision
    return _one_pass(agent, env)


def _one_pass(agent: Agent, env: PatchSelectionVectorEnv) -> Callable[[], object]:
    """Return a function that makes the next training pass over the environment's videos each time."""
    epochs = count()
    return lambda: agent.train_epoch(env, next(epochs), epochs=1_000_000)


def _classifier(device: torch.device) -> Classifier:
    """Return f_C in the paper's sizes, frozen, with random weights."""
    seed_all("bench ppo")
    classifier = create_classifier(
        "gru", input_dim=MAPS[0] + LOCAL_DIM, num_classes=CLASSES, hidden=HIDDEN, dropout=0.0
    )
    return classifier.to(device).eval().requires_grad_(False)


def _env(
    bank: FeatureBank, *, videos: int | None = None, reward: RewardConfig | None = None
) -> PatchSelectionVectorEnv:
    return PatchSelectionVectorEnv(bank, _classifier(bank.device), num_envs=videos or BATCH, reward=reward)


def _published(bank: FeatureBank) -> PublishedLoop:
    """Return the published loop on one frame of a few videos."""
    episodes = bank.episodes(bank.videos[:LIVE_VIDEOS])
    side = bank.grid.frame_size
    return PublishedLoop(
        maps=episodes.global_map[:, :1],
        vectors=episodes.global_vector[:, :1],
        frames=torch.rand(len(episodes), 1, 3, side, side, device=bank.device),
        labels=episodes.labels,
        grid=bank.grid,
        classifier=_classifier(bank.device),
    )
