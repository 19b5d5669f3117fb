"""Agents that do not learn: baselines that a policy must beat, and an oracle that it cannot beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adafocus_rl.agents.base import features_of
from adafocus_rl.agents.best_actions import MemorylessActions
from adafocus_rl.agents.planned import PlannedAgent
from adafocus_rl.envs import DecisionVectorEnv, Info, PolicyOutput
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.errors import UserError
from adafocus_rl.options import NoOptions, require, require_finite
from adafocus_rl.seeding import derive_seed, hash_randint, hash_uniform


def _counters(info: Mapping[str, Any], num_frames: int) -> tuple[Tensor, Tensor, Tensor]:
    video, visit = info["video"][:, None], info["visit"][:, None]
    return video, visit, torch.arange(num_frames, device=video.device)[None]


def _positions(seed: int, counters: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Return uniform positions (B, T, 2) float64 in [0, 1)²."""
    axis = torch.arange(2, device=counters[0].device)
    return hash_uniform(seed, *(part[..., None] for part in counters), axis)


class RandomAgent(PlannedAgent):
    """Selects a uniformly random position in every frame, a function of (seed, video, visit, frame).

    With several scales, each is as likely.
    """

    label = "random"
    stochastic = True
    reads_motion = False

    def plan(self, info: Mapping[str, Any], num_frames: int) -> Tensor:
        """Return random actions, which do not depend on the batch size or the order of the videos."""
        seed, counters = derive_seed(self.seed, "random agent"), _counters(info, num_frames)
        return (
            _positions(seed, counters).float() if self.continuous else hash_randint(self.num_actions, seed, *counters)
        )


class CenterAgent(PlannedAgent):
    """Always selects the centre, or the grid position nearest to it; of several scales, that nearest to 1."""

    label = "center"
    reads_motion = False

    def plan(self, info: Mapping[str, Any], num_frames: int) -> Tensor:
        """Return the same action for every frame."""
        center = torch.full((len(info["video"]), num_frames, 2), 0.5, device=info["video"].device)
        return self.action_at(center)

    def best_actions(self) -> MemorylessActions:
        """Return the same action for every observation."""

        def choose(observation: Observation) -> Tensor:
            features = features_of(observation)
            # Not len(features), which an exporter takes for a constant.
            return self.action_at(features.new_full((features.shape[0], 2), 0.5))

        return MemorylessActions(choose)


@dataclass(frozen=True, kw_only=True)
class GaussianOptions:
    """Options of ``GaussianAgent``."""

    std: float = 0.25
    """Standard deviation as a fraction of the range of positions, above 0."""

    def __post_init__(self) -> None:
        require_finite(self)
        require(self, "std", self.std > 0, "a number above 0")


class GaussianAgent(PlannedAgent):
    """Draws positions from a normal distribution around the centre, clipped to the frame, and rounded to a grid.

    With several scales, patches have the scale nearest to 1.

    Args:
        env: as in ``Agent``.
        options: the standard deviation.
        seed: seed of the positions, which are functions of (seed, video, visit, frame).
    """

    Options = GaussianOptions
    options: GaussianOptions

    label = "gaussian"
    stochastic = True
    reads_motion = False

    def plan(self, info: Mapping[str, Any], num_frames: int) -> Tensor:
        """Return positions: uniform numbers mapped through the inverse normal distribution function."""
        uniform = _positions(derive_seed(self.seed, "gaussian agent"), _counters(info, num_frames))
        # The inverse is −∞ at 0; 1 is never drawn.
        normal = torch.special.ndtri(uniform.clamp_min(1e-12))
        return self.action_at((0.5 + self.options.std * normal).clamp(0, 1))


class MotionAgent(PlannedAgent):
    """Selects the grid patch with most motion since the previous frame; the centre if there is none, as in frame 1.

    It compares small grey pictures of the clip's frames (``adafocus_rl.features.motion``). That takes no convolutions
    or matrix products, so no multiply-accumulates are counted. With several scales, only patches of the scale nearest
    to 1 are compared: a smaller patch nearly always has more motion per pixel.

    Args:
        env: as in ``Agent``; its features must have pictures.
        options: none.
        seed: not used.
    """

    label = "motion"

    def plan(self, info: Mapping[str, Any], num_frames: int) -> Tensor:
        """Return the patch with most motion in each frame.

        Raises:
            UserError: if the features have no pictures.
        """
        if "motion" not in info:
            raise UserError(
                "MotionAgent compares frames, but these features have no pictures; give live features or a bank"
            )
        motion = info["motion"].unflatten(-1, (len(self.grid.scales), -1))[..., self.grid.base_scale, :]
        position = self.grid.position(motion.argmax(-1))
        return self.action_at(torch.where(motion.amax(-1, keepdim=True) > 0, position, 0.5))

    def act_online(
        self, observation: Observation, state: Any, info: Info, *, deterministic: bool = False
    ) -> tuple[PolicyOutput, Any]:
        """Return the patch with most motion since the previous frame of the stream."""
        return PolicyOutput(action=self.plan(info, 1)[:, 0]), state


class OracleAgent(PlannedAgent):
    """Selects the patch nearest to the true box, for data that has boxes: an upper reference, not a competitor.

    In frames without the object, it selects the patch of the nearest frame that has it; the centre if no frame has.
    With several scales, it selects the smallest patch that is as large as the box, or the largest patch if none is.
    """

    label = "oracle"
    privileged = True
    reads_motion = False

    def __init__(self, env: DecisionVectorEnv, options: NoOptions | None = None, *, seed: int = 0) -> None:
        super().__init__(env, options, seed=seed)
        self.has_boxes = env.source.has_boxes

    def plan(self, info: Mapping[str, Any], num_frames: int) -> Tensor:
        """Return the positions nearest to the boxes.

        Raises:
            UserError: if neither these episodes nor the environment's own data have true boxes.
        """
        boxes: Tensor = info["true_box"]
        # ``has_boxes`` comes first: reading the tensor waits for the device. Some videos may have no boxes even so.
        if not self.has_boxes and bool(boxes.isnan().all()):
            raise UserError(
                "OracleAgent needs true boxes, and this data has none: give <list>_boxes.csv beside the list file"
            )
        present = ~boxes.isnan().any(-1)
        frames = torch.arange(num_frames, device=boxes.device)
        distance = (frames[:, None] - frames).abs() + num_frames * (~present)[:, None]
        nearest = distance.argmin(-1)
        filled = boxes.gather(1, nearest[..., None].expand(-1, -1, 4))
        if self.continuous:
            return self.action_at(self.grid.centered_position(filled).nan_to_num(0.5))
        scale = self.grid.fitting_scale(filled)
        return self.grid.action(self.grid.centered_position(filled, scale).nan_to_num(0.5), scale)
