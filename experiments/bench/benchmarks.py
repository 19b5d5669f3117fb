"""The benchmarks of ``adafocus bench``: what the project claims to be fast, each in a module of its own."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator
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
"""For each benchmark, the function, imported on demand. It takes the device and returns a timing or
yields several."""


def timings_of(name: str, device: torch.device) -> Iterator[Timing]:
    """Run a benchmark; yield each timing as soon as it is measured, where the benchmark does so.

    Args:
        name: one of ``BENCHMARKS``.
        device: device to run on.
    """
    found = pkgutil.resolve_name(f"{__package__}.{BENCHMARKS[name]}")(device)
    if isinstance(found, Iterable):
        yield from found
    else:
        yield found
