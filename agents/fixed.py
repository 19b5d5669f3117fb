"""Agents that do not learn: what a policy has to beat, and what it cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adafocus_rl.agents.base import AGENTS, PlannedAgent
from adafocus_rl.envs import DecisionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.options import NoOptions, require, require_finite
from adafocus_rl.seeding import derive_seed, hash_randint, hash_uniform


def _counters(info: Mapping[str, Any], num_frames: int) -> tuple[Tensor, Tensor, Tensor]:
    video, visit = info["video"][:, None], info["visit"][:, None]
    return video, visit, torch.arange(num_frames, device=video.device)[None]


def _positions(seed: int, counters: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Uniform positions (B, T, 2) float64 in [0, 1)²."""
    axis = torch.arange(2, device=counters[0].device)
    return hash_uniform(seed, *(part[..., None] for part in counters), axis)


@AGENTS.register("RandomAgent")
class RandomAgent(PlannedAgent):
    """A uniformly random position in every frame; a function of (seed, video, visit, frame)."""

    label = "random"
    stochastic = True

    def plan(self, info: Mapping[str, Any], num_frames: int) -> Tensor:
        """Counter-based random numbers: the same whatever the batch size and the order."""
        seed, counters = derive_seed(self.seed, "random agent"), _counters(info, num_frames)
        return (
            _positions(seed, counters).float() if self.continuous else hash_randint(self.num_actions, seed, *counters)
        )


@AGENTS.register("CenterAgent")
class CenterAgent(PlannedAgent):
    """The centre, or the grid position nearest to it, always."""

    label = "center"

    def plan(self, info: Mapping[str, Any], num_frames: int) -> Tensor:
        """One action for all."""
        center = torch.full((len(info["video"]), num_frames, 2), 0.5, device=info["video"].device)
        return self.action_at(center)


@dataclass(frozen=True, kw_only=True)
class GaussianOptions:
    """Options of ``GaussianAgent``."""

    std: float = 0.25
    """Standard deviation as a share of the range of positions, above 0."""

    def __post_init__(self) -> None:
        require_finite(self)
        require(self, "std", self.std > 0, "a number above 0")


@AGENTS.register("GaussianAgent")
class GaussianAgent(PlannedAgent):
    """Positions drawn from a normal distribution around the centre, clipped to the frame, rounded to a grid.

    Args:
        env: where it acts.
        options: the spread.
        seed: of the positions, which are functions of (seed, video, visit, frame).
    """

    Options = GaussianOptions
    options: GaussianOptions

    label = "gaussian"
    stochastic = True

    def plan(self, info: Mapping[str, Any], num_frames: int) -> Tensor:
        """Uniform numbers through the inverse of the normal distribution function."""
        uniform = _positions(derive_seed(self.seed, "gaussian agent"), _counters(info, num_frames))
        # Away from 0, where the inverse is −∞; 1 is never drawn.
        normal = torch.special.ndtri(uniform.clamp_min(1e-12))
        return self.action_at((0.5 + self.options.std * normal).clamp(0, 1))


@AGENTS.register("MotionAgent")
class MotionAgent(PlannedAgent):
    """The grid patch in which most has moved since the frame before; the centre where nothing has, as in frame 1.

    It compares small grey pictures of the clip's frames (``adafocus_rl.features.motion``), which costs no
    multiply-accumulates of convolutions or matrix products, and none are counted.

    Args:
        env: where it acts; its features must have pictures.
        options: none.
        seed: not used.
    """

    label = "motion"

    def plan(self, info: Mapping[str, Any], num_frames: int) -> Tensor:
        """Every frame by itself.

        Raises:
            UserError: the features have no pictures.
        """
        if "motion" not in info:
            raise UserError(
                "MotionAgent compares frames, but these features have no pictures; give live features or a bank"
            )
        motion = info["motion"]
        position = self.grid.position(motion.argmax(-1))
        return self.action_at(torch.where(motion.amax(-1, keepdim=True) > 0, position, 0.5))


@AGENTS.register("OracleAgent")
class OracleAgent(PlannedAgent):
    """The patch nearest to the true box, which only embedded data knows: an upper reference, not a rival.

    In frames without the object it takes the patch of the nearest frame with it, and the centre when no frame has one.
    """

    label = "oracle"
    privileged = True

    def __init__(self, env: DecisionVectorEnv, options: NoOptions | None = None, *, seed: int = 0) -> None:
        super().__init__(env, options, seed=seed)
        self.has_boxes = env.source.has_boxes

    def plan(self, info: Mapping[str, Any], num_frames: int) -> Tensor:
        """Positions nearest to the boxes.

        Raises:
            UserError: when neither these episodes' data nor the environment's own has true boxes.
        """
        boxes: Tensor = info["true_box"]
        # The source knows whether it has boxes; these videos alone may have none, and asking would wait for the device.
        if not self.has_boxes and bool(boxes.isnan().all()):
            raise UserError(
                "OracleAgent needs true boxes, and this data has none: give <list>_boxes.csv beside the list file"
            )
        present = ~boxes.isnan().any(-1)
        frames = torch.arange(num_frames, device=boxes.device)
        distance = (frames[:, None] - frames).abs() + num_frames * (~present)[:, None]
        nearest = distance.argmin(-1)
        filled = boxes.gather(1, nearest[..., None].expand(-1, -1, 4))
        position = self.grid.centered_position(filled)
        return self.action_at(position.nan_to_num(0.5))
