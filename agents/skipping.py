"""An agent that skips frames at random, or always the same: the baseline that π′ must beat at the same share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adafocus_rl.agents.planned import PlannedAgent
from adafocus_rl.envs.skippable import KEEP, SKIP
from adafocus_rl.options import require
from adafocus_rl.seeding import derive_seed, hash_uniform


@dataclass(frozen=True, kw_only=True)
class RandomSkipOptions:
    """Options of ``RandomSkipAgent``."""

    share: float = 0.5
    """Probability of keeping a frame, in [0, 1]."""

    shares: tuple[float, ...] = ()
    """Probability of keeping each of the T frames of a clip; empty uses ``share`` for all."""

    def __post_init__(self) -> None:
        require(self, "share", 0 <= self.share <= 1, "a number in [0, 1]")
        require(self, "shares", all(0 <= share <= 1 for share in self.shares), "numbers in [0, 1]")


class RandomSkipAgent(PlannedAgent):
    """Keeps each frame with a probability that does not depend on what it shows.

    Choices are functions of (seed, video, visit, frame).

    Args:
        env: a frame-skipping environment; see ``Agent``.
        options: the share of frames to keep, or one for each frame number.
        seed: seed of the choices.
    """

    Options = RandomSkipOptions
    options: RandomSkipOptions

    label = "random_skip"
    stochastic = True
    reads_motion = False

    def plan(self, info: Mapping[str, Any], num_frames: int) -> Tensor:
        """Return random actions, which do not depend on the batch size or the order of the videos."""
        video, visit = info["video"][:, None], info["visit"][:, None]
        frames = torch.arange(num_frames, device=video.device)[None]
        uniform = hash_uniform(derive_seed(self.seed, "random skip"), video, visit, frames)
        share = torch.tensor(self.options.shares or self.options.share, dtype=uniform.dtype, device=video.device)
        return torch.where(uniform < share, KEEP, SKIP)
