"""``adafocus bench crops``."""

from __future__ import annotations

import torch
from torch import Tensor

from adafocus_rl.experiments.bench.timing import Timing, compare
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.seeding import seed_all


def bench_crops(device: torch.device) -> Timing:
    """Crop patches of 128 from 64 frames of 224: one gather, against a loop that reads each origin from the device."""
    grid = PatchGrid(grid=7, frame_size=224, patch_size=128)
    seed_all("bench crops")
    frames = torch.rand(64, 3, 224, 224, device=device)
    origin = grid.uniform_origin(torch.rand(64, 2, device=device))

    def loop() -> Tensor:
        patches = []
        for frame, place in zip(frames, origin, strict=True):
            top, left = (int(value) for value in place)
            patches.append(frame[:, top : top + grid.patch_size, left : left + grid.patch_size])
        return torch.stack(patches).contiguous(memory_format=torch.channels_last)

    return compare("crops", ("batched", lambda: grid.crop(frames, origin)), ("loop", loop), device)
