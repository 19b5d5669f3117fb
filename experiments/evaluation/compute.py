"""Compute of a recipe and its parts."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from adafocus_rl.data import DATASETS
from adafocus_rl.experiments.config.parser import Settings
from adafocus_rl.experiments.run.clips import find_lists, read_run_lists
from adafocus_rl.experiments.run.handover import blank_env
from adafocus_rl.flops import component_macs, video_macs
from adafocus_rl.models.recognizer import Recognizer


def recipe_gmacs(settings: Settings, *, with_batch_norm: bool = False) -> dict[str, Any]:
    """Return the GMACs of a recipe's parts, each used once, and of a video.

    Args:
        settings: the recipe.
        with_batch_norm: also count batch normalisation (the other convention).

    Returns:
        ``convention``; ``frames`` and ``steps`` of a video; ``components``, GMACs by name for one step, which is a
        frame or, with temporal shift, the clip; ``video``, GMACs (``total`` and ``local``) by agent: the recipe's
        agent, whole frames instead of patches and, if frames are skipped, the two extremes of keeping no frame and all
        frames.

    Raises:
        UserError: if the model is impossible, or the classes are to be counted in a list that does not exist.
    """
    config = settings.config
    model = dataclasses.replace(
        config.model,
        num_classes=config.model.num_classes or _count_classes(settings),
        # Only shapes matter, and files of weights may be missing here.
        glance=dataclasses.replace(config.model.glance, weights="none"),
        focus=dataclasses.replace(config.model.focus, weights="none"),
    )
    with torch.random.fork_rng(devices=[]):
        recognizer = Recognizer(model).eval()
        agent = config.agent.make(blank_env(config, recognizer), seed=config.seed)
    parts = component_macs(recognizer, with_batch_norm=with_batch_norm)
    policy = agent.macs_per_step()
    steps = recognizer.num_steps(config.data.num_frames)

    def video(*, policy_macs: int, full: bool = False, kept: float = 1.0) -> dict[str, float]:
        macs = video_macs(
            parts,
            num_steps=steps,
            policy_macs=policy_macs,
            uses_patch=not full,
            uses_full=full,
            kept=kept,
        )
        return {name: value / 1e9 for name, value in macs.items()}

    videos = {agent.label: video(policy_macs=policy), "full_frame": video(policy_macs=0, full=True)}
    if config.skip.knobs:
        for kept in (0, 1):  # π′ has π's architecture
            videos[f"{agent.label}+skip, {kept:.0%} kept"] = video(policy_macs=2 * policy, kept=kept)
    return {
        "convention": "with batch-norm" if with_batch_norm else "conv+fc",
        "frames": config.data.num_frames,
        "steps": steps,
        "components": {
            "glance": parts.glance / 1e9,
            "policy": policy / 1e9,
            "focus_patch": parts.focus_patch / 1e9,
            "focus_full": parts.focus_full / 1e9,
            "classifier": parts.classifier / 1e9,
        },
        "video": videos,
    }


def _count_classes(settings: Settings) -> int:
    """Return the number of classes as in training, but without creating an embedded dataset that declares it."""
    data = settings.config.data
    if data.embedded:
        known: int | None = getattr(DATASETS.get(data.embedded), "num_classes", None)
        if known is not None:
            return known
    return read_run_lists(settings.config, find_lists(data))["train"].num_classes
