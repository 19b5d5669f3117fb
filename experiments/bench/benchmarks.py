"""The benchmarks of ``adafocus bench``: what the project claims to be fast, each in a module of its own."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from adafocus_rl.experiments.bench.timing import Timing

BENCHMARKS = {
    "crops": "crops:bench_crops",
    "rollout": "rollout:bench_rollout",
    "bank": "bank:bench_bank",
    "bank-read": "bank_read:bench_bank_read",
    "bank-build": "bank_build:bench_bank_build",
    "counterfactuals": "counterfactuals:bench_counterfactuals",
    "ppo": "ppo:bench_ppo",
    "decode": "decode:bench_decode",
    "onnx": "onnx_runtime:bench_onnx",
    "single-env": "single_env:bench_single_env",
    "startup": "startup:bench_startup",
    "recognise": "recognise:bench_recognise",
}
"""For each benchmark, the function, imported on demand. It takes the device and returns one or several timings."""


def timings_of(name: str, device: torch.device) -> list[Timing]:
    """Run a benchmark.

    Args:
        name: one of ``BENCHMARKS``.
        device: device to run on.
    """
    found = pkgutil.resolve_name(f"{__package__}.{BENCHMARKS[name]}")(device)
    return found if isinstance(found, list) else [found]
