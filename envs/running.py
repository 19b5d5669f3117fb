"""States of the running episodes of environments that are stepped."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adafocus_rl.envs.rollout import Info
from adafocus_rl.features.source import EpisodeFeatures


def host_mask(mask: NDArray[np.bool_], device: torch.device) -> Tensor:
    """Copy a host mask (B,) bool to the device without synchronising."""
    if mask.all() or not mask.any():
        return torch.full(mask.shape, bool(mask[:1].any()), device=device)
    return torch.from_numpy(mask.copy()).to(device, non_blocking=True)


@dataclass(kw_only=True)
class Stepped(ABC):
    """B running episodes of any environment, each at its own step.

    Values that decide control flow are on the host and values of the transition are on the device, so that a step does
    not synchronise.

    Attributes:
        episodes: features of the episodes.
        info: facts about the videos.
        returns: (B,) sums of rewards so far.
        frame: (B,) int64 number of steps taken.
        steps: the same on the host.
        started: host time at which each episode began, in seconds.
    """

    episodes: EpisodeFeatures
    info: Info
    returns: Tensor
    frame: Tensor
    steps: NDArray[np.int64]
    started: NDArray[np.float64]

    @property
    @abstractmethod
    def over(self) -> NDArray[np.bool_]:
        """(B,) bool on the host: episodes that have ended."""

    def replace(self, rows: NDArray[np.int64], new: Stepped) -> None:
        """Replace R of these episodes by new ones of the same class."""
        where = torch.from_numpy(rows).to(self.frame.device, non_blocking=True)
        self.episodes.overwrite(where, new.episodes)
        self.info = {name: value.index_copy(0, where, new.info[name]) for name, value in self.info.items()}
        for field in fields(self):
            value: Any = getattr(self, field.name)
            if isinstance(value, Tensor):
                setattr(self, field.name, value.index_copy(0, where, getattr(new, field.name)))
            elif isinstance(value, np.ndarray):
                value[rows] = getattr(new, field.name)

    def statistics(self) -> dict[str, Any]:
        """Return the statistics of all B episodes in the form of Gymnasium's ``RecordEpisodeStatistics``.

        ``r`` is the return so far (B,), ``l`` the number of steps (B,), and ``t`` the seconds since the start (B,).
        """
        seconds = torch.from_numpy((time.perf_counter() - self.started).astype(np.float32))
        return {"r": self.returns, "l": self.frame, "t": seconds.to(self.frame.device, non_blocking=True)}


def clocks(count: int, device: torch.device) -> dict[str, Any]:
    """Return ``returns``, ``frame``, ``steps`` and ``started`` of B episodes before their first step."""
    return {
        "returns": torch.zeros(count, device=device),
        "frame": torch.zeros(count, dtype=torch.long, device=device),
        "steps": np.zeros(count, dtype=np.int64),
        "started": np.full(count, time.perf_counter()),
    }


@dataclass(kw_only=True)
class Running(Stepped):
    """B running episodes of a ``DecisionProblem``; an episode has taken at most T steps.

    Attributes:
        baseline: (B, T, k[, 2]) actions of the ``random`` reward's baseline.
        state: (B, H) state of f_C.
        last: (B, 2) positions of the last patches.
        seen: (B, S) what observations know of previous frames (``DecisionProblem.see``).
        aligned: whether all episodes began together and are at the same step.
    """

    baseline: Tensor
    state: Tensor
    last: Tensor
    seen: Tensor
    aligned: bool = True

    @staticmethod
    def begin(
        episodes: EpisodeFeatures, *, info: Info, baseline: Tensor, state: Tensor, last: Tensor, seen: Tensor
    ) -> Running:
        """Begin new episodes, before their first step."""
        return Running(
            episodes=episodes,
            info=info,
            baseline=baseline,
            state=state,
            last=last,
            seen=seen,
            **clocks(len(episodes), last.device),
        )

    @property
    def over(self) -> NDArray[np.bool_]:
        """(B,) bool on the host: episodes that have taken all T steps."""
        return np.asarray(self.steps >= self.episodes.num_steps)

    @property
    def at(self) -> Tensor:
        """(B, 1) int64 current frame; the last one if an episode is over."""
        return self.frame.clamp(max=self.episodes.num_steps - 1)[:, None]

    def current(self, values: Tensor) -> Tensor:
        """Select the current entries (B, …) of a table (B, T, …); a view if all episodes are at the same step."""
        if self.aligned:
            return values[:, min(int(self.steps[0]), self.episodes.num_steps - 1)]
        return values[torch.arange(len(values), device=values.device), self.at[:, 0]]

    def advance(self, *, state: Tensor, last: Tensor, seen: Tensor, reward: Tensor) -> None:
        """Record a step of every episode; finished episodes stay finished."""
        self.state, self.last, self.seen = state, last, seen
        self.returns = self.returns + reward
        frames = self.episodes.num_steps
        self.frame = (self.frame + 1).clamp(max=frames)
        self.steps = np.minimum(self.steps + 1, frames)

    def replace(self, rows: NDArray[np.int64], new: Stepped) -> None:
        """Replace R of these episodes by new ones."""
        if self.aligned:
            # Observations already returned are views of the features, which must not change.
            self.episodes = self.episodes.clone()
            self.aligned = False
        super().replace(rows, new)
