"""The largest number that each key takes: more is a slip of the keyboard, or more than any machine has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adafocus_rl.errors import UserError

LARGEST = {
    "threads": 1024,
    "data.num_frames": 10_000,
    "data.resize_short": 16_384,
    "data.workers": 256,
    # A week; what waits for a process counts in milliseconds, in 32 bits.
    "data.decode_timeout": 604_800,
    "model.glance.num_frames": 10_000,
    "model.focus.num_frames": 10_000,
    "model.classifier.hidden": 16_384,
    "model.frame_size": 16_384,
    "model.glance_size": 16_384,
    "model.patch_size": 16_384,
    "model.grid": 1024,
    "model.num_classes": 1_000_000,
    "env.reward.baseline_positions": 1_000_000,
    "epochs": 1_000_000,
    "full_frame_epochs": 1_000_000,
    "milestones": 1_000_000,
    "batch_size": 1_000_000,
    "accumulate": 1_000_000,
    "bank.shard_videos": 1_000_000,
    "bank.chunk_videos": 1_000_000,
    "evaluation.repeats": 1_000_000,
    "evaluation.timed_videos": 1_000_000,
    "evaluation.sheet_videos": 1000,
    "evaluation.report_videos": 10_000,
    "evaluation.replay_every": 1_000_000,
}
"""By dotted key, or by its last name where that says the same everywhere."""


def check_limits(values: Mapping[str, Any]) -> None:
    """Refuses numbers beyond their limit.

    Args:
        values: by dotted key; a list counts by its largest number.

    Raises:
        UserError: naming the key, its value and the limit.
    """
    for key, value in values.items():
        limit = LARGEST.get(key, LARGEST.get(key.rpartition(".")[2]))
        if limit is None:
            continue
        for number in value if isinstance(value, list) else [value]:
            if number is not None and number > limit:
                raise UserError(f"{key} is {value}; give at most {limit}")
