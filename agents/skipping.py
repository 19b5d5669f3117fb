"""An agent that skips frames at random: the baseline that π′ must beat at the same share of frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adafocus_rl.agents.base import PlannedAgent
from adafocus_rl.envs.skippable import KEEP, SKIP
from adafocus_rl.options import require
from adafocus_rl.seeding import derive_seed, hash_uniform


@dataclass(frozen=True, kw_only=True)
class RandomSkipOptions:
    """Options of ``RandomSkipAgent``."""

    share: float = 0.5
    """Probability of keeping a frame, in [0, 1]."""

    def __post_init__(self) -> None:
        require(self, "share", 0 <= self.share <= 1, "a number in [0, 1]")


class RandomSkipAgent(PlannedAgent):
    """Keeps each frame with the same probability; choices are functions of (seed, video, visit, frame).

    Args:
        env: a frame-skipping environment; see ``Agent``.
        options: the share of frames to keep.
        seed: seed of the choices.
    """

    Options = RandomSkipOptions
    options: RandomSkipOptions

    label = "random_skip"
    stochastic = True

    def plan(self, info: Mapping[str, Any], num_frames: int) -> Tensor:
        """Return random actions, which do not depend on the batch size or the order of the videos."""
        video, visit = info["video"][:, None], info["visit"][:, None]
        frames = torch.arange(num_frames, device=video.device)[None]
        uniform = hash_uniform(derive_seed(self.seed, "random skip"), video, visit, frames)
        return torch.where(uniform < self.options.share, KEEP, SKIP)
