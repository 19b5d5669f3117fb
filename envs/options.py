"""Options of environments: observations, actions, rewards."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from adafocus_rl.options import require, require_range

ActionKind = Literal["grid", "continuous"]
ObservationKind = Literal["map", "vector"]

SkippingReward = Literal["gain", "last"]
"""Reward of frame skipping; see ``FrameSkippingVectorEnv``."""


@dataclass(frozen=True, kw_only=True)
class SpaceConfig:
    """Observations and actions."""

    action_space: ActionKind = "grid"
    """``grid``: one of ``model.grid`` squared positions, of one of ``model.patch_scales``; ``continuous``: any (row,
    column) in [0, 1]², which requires live features and one scale."""

    observation: ObservationKind = "map"
    """``map``: f_G's feature map of the frame; ``vector``: the same map, pooled."""

    last_action: bool = False
    """Also observe the position of the previous patch, (−1, −1) in the first frame; with several scales, also its
    side."""

    time_step: bool = False
    """Also observe the share of the frames that have passed."""

    motion: bool = False
    """Also observe the mean absolute difference to the previous frame, as an additional channel of the map."""

    def options(self) -> dict[str, Any]:
        """Return the options as keyword arguments of an environment, without fields that a subclass adds."""
        return {field.name: getattr(self, field.name) for field in fields(SpaceConfig)}


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """The reward of an environment."""

    kind: str = "random"
    """``random``, ``padding``, ``increment``, ``confidence``, or the name of another package's reward."""

    baseline_positions: int = 1
    """Number of random positions averaged as the baseline of ``random``; 0 averages over all A positions of the grid.
    Grid actions are drawn uniformly from the grid (of all scales), continuous ones uniformly from all pixels."""

    def __post_init__(self) -> None:
        require(self, "baseline_positions", self.baseline_positions >= 0, "0 (all) or a count")
        require_range(self, "baseline_positions", least=0, most=1_000_000)
