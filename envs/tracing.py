"""From rollouts to a trace: which boxes were looked at, which frames were kept, what was believed after each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from adafocus_rl.envs.rollout import Rollout
from adafocus_rl.envs.vector_env import DecisionVectorEnv
from adafocus_rl.features.source import EpisodeFeatures
from adafocus_rl.record import Trace


@dataclass(frozen=True, kw_only=True)
class FrameMacs:
    """Multiply-accumulates of one frame."""

    always: int
    """Spent on every frame: f_G, policies, f_C."""
    local: int
    """Spent where f_L looks."""


@dataclass(kw_only=True)
class Tracer:
    """Collects the batches of one agent's visit to a set of videos.

    Attributes:
        name: the agent's label in tables.
        macs: what a frame costs.
        after_stage: as in :class:`~adafocus_rl.record.Trace`, and so are the next.
        price: λ.
        facts: further plain values.
    """

    name: str
    macs: FrameMacs
    after_stage: int = 2
    price: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._parts: list[dict[str, Tensor]] = []
        self._videos: list[dict[str, Tensor]] = []
        self._patch_size = 0

    def add(self, env: DecisionVectorEnv, rollout: Rollout) -> None:
        """A batch, in the source's order of videos.

        Args:
            env: where the agent acted.
            rollout: with or without rewards.
        """
        more = {"reward": rollout.reward} if rollout.reward.numel() else {}
        probabilities = env.patch_probabilities(rollout)
        if probabilities is not None:
            more["probabilities"] = probabilities.half()
            self._patch_size = env.source.grid.patch_size
        self._add(rollout.episodes, env.chosen_boxes(rollout), env.kept_frames(rollout), rollout.logits, more)

    def add_whole_frames(self, episodes: EpisodeFeatures, logits: Tensor, *, frame_size: int) -> None:
        """A batch in which f_L looked at whole frames.

        Args:
            episodes: the videos.
            logits: (B, T, K) of f_C after every step.
            frame_size: S.
        """
        count, frames = logits.shape[:2]
        boxes = torch.tensor([0, 0, frame_size, frame_size]).expand(count, frames, 4)
        self._add(episodes, boxes, torch.ones(count, frames, dtype=torch.bool), logits, {})

    def finish(self) -> Trace:
        """The trace of all batches."""
        whole = _joined(self._parts)
        kept = whole["kept"].long()
        return Trace(
            name=self.name,
            macs=self.macs.always + kept * self.macs.local,
            after_stage=self.after_stage,
            price=self.price,
            patch_size=self._patch_size,
            facts=self.facts,
            **whole,
        )

    def videos(self) -> dict[str, Tensor]:
        """What is known of the videos: ``videos``, ``multi_hot`` and ``true_boxes`` of an episode record."""
        return _joined(self._videos)

    def _add(
        self, episodes: EpisodeFeatures, boxes: Tensor, kept: Tensor, logits: Tensor, more: Mapping[str, Tensor]
    ) -> None:
        belief = logits.float().softmax(-1)
        confidence, predicted = belief.max(-1)
        true = belief.gather(-1, episodes.labels[:, None, None].expand(-1, belief.shape[1], 1))[..., 0]
        part = {
            "boxes": boxes, "kept": kept, "predicted": predicted, "confidence": confidence, "true_confidence": true,
            **more,
        }  # fmt: skip
        self._parts.append({name: value.cpu() for name, value in part.items()})
        facts = {"videos": episodes.videos, "multi_hot": episodes.multi_hot > 0, "true_boxes": episodes.true_boxes}
        self._videos.append({name: value.cpu() for name, value in facts.items()})


def _joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
