"""Who skips frames without thinking: what π′ has to beat at the same share of frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adafocus_rl.agents.base import PlannedAgent
from adafocus_rl.envs import PatchSelectionVectorEnv
from adafocus_rl.envs.frame_skipping import KEEP, SKIP
from adafocus_rl.errors import UserError
from adafocus_rl.seeding import derive_seed, hash_uniform


class RandomSkipAgent(PlannedAgent):
    """Keeps each frame with the same probability; a function of (seed, video, visit, frame).

    Args:
        env: where it acts.
        seed: of the choices.
        share: probability of keeping a frame, in [0, 1].

    Raises:
        UserError: the share is out of range.
    """

    label = "random_skip"
    stochastic = True

    def __init__(self, env: PatchSelectionVectorEnv, *, seed: int = 0, share: float = 0.5) -> None:
        super().__init__(env, seed=seed)
        if not 0 <= share <= 1:
            raise UserError(f"RandomSkipAgent's share is {share}; give a number in [0, 1]")
        self.share = share

    def options(self) -> dict[str, Any]:
        """``share`` beside the seed."""
        return {**super().options(), "share": self.share}

    def plan(self, info: Mapping[str, Any], num_frames: int) -> Tensor:
        """Counter-based random numbers: the same whatever the batch size and the order."""
        video, visit = info["video"][:, None], info["visit"][:, None]
        frames = torch.arange(num_frames, device=video.device)[None]
        uniform = hash_uniform(derive_seed(self.seed, "random skip"), video, visit, frames)
        return torch.where(uniform < self.share, KEEP, SKIP)
