"""Measurements of the results table on frozen features: accuracy and compute."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adafocus_rl import ranks
from adafocus_rl.agents.methods import Method, Outcome, Visit
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.evaluation.recording import Recorder
from adafocus_rl.features import EpisodeFeatures, FeatureSource
from adafocus_rl.features.source import shared_batches
from adafocus_rl.metrics import hits, log_odds, mean_average_precision

Act = Callable[[EpisodeFeatures, Visit], Outcome]
"""A method at one operating point, as a function."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Metrics of a method on a set of videos.

    Attributes:
        top1: top-1 accuracy: share of videos whose most likely class is a true one, in [0, 1]; mean over the visits.
        map: mean average precision over the classes that have a positive, in [0, 1]; mean over the visits.
        macs: multiply-accumulates per video, mean over videos and visits.
        local_macs: those of f_L.
        rows: row of each video in the index.
        labels: (first) class of each video.
        visits: number of visits to each video.
        hits: number of visits in which each video was recognised.
        reward: return of an episode, mean over videos and visits; None if no rewards were computed.
        kept: share of the frames that f_L processed; None for methods that process every frame by design.
    """

    top1: float
    map: float
    macs: float
    local_macs: float
    rows: list[int]
    labels: list[int]
    visits: int
    hits: list[int]
    reward: float | None = None
    kept: float | None = None

    @property
    def videos(self) -> int:
        """Number of videos."""
        return len(self.rows)

    def entry(self) -> dict[str, Any]:
        """Return what result files keep of each measurement, as plain values (JSON)."""
        return {
            "map": self.map,
            "gmacs_per_video": self.macs / 1e9,
            "local_gmacs_per_video": self.local_macs / 1e9,
            "videos": self.rows,
            "labels": self.labels,
            "visits": self.visits,
            "hits": self.hits,
        }

    @property
    def rates(self) -> NDArray[np.float64]:
        """(N,) share of its visits in which each video was recognised."""
        return np.asarray(self.hits, dtype=np.float64) / self.visits


def acting(method: Method, knob: float | None = None) -> Act:
    """Return a method at one of its operating points, as a function."""
    return lambda batch, visit: method.run(batch, knob=knob, visit=visit)


def measure(
    act: Act,
    source: FeatureSource,
    *,
    batch_size: int,
    visits: int = 1,
    rewards: bool = False,
    recorder: Recorder | None = None,
) -> Measured:
    """Recognise all videos of a source and return the metrics.

    In a job of several ranks, each recognises some of the batches that one process would form, and all return the same
    metrics, which are exactly those of one process.

    Args:
        act: the method to measure.
        source: features of the videos.
        batch_size: videos per batch; does not change the result.
        visits: number of visits to each video, to average the metrics over; above 1 for stochastic methods only.
        rewards: compute rewards in all visits, which takes longer.
        recorder: records the first visit, including rewards and probabilities.

    Raises:
        UserError: if a prediction is NaN.
    """
    tables = [
        _visit(act, source, batch_size, number, rewards=rewards, recorder=None if number else recorder)
        for number in range(visits)
    ]
    first = tables[0]
    kept = [table.kept for table in tables if table.kept is not None]
    reward = [table.reward for table in tables if table.reward is not None]
    recognised = [hits(table.scores, table.multi_hot) for table in tables]
    return Measured(
        top1=float(np.mean(recognised)),
        map=statistics.fmean(mean_average_precision(table.scores, table.multi_hot).value for table in tables),
        macs=float(torch.cat([table.macs for table in tables]).double().mean()),
        local_macs=float(torch.cat([table.local_macs for table in tables]).double().mean()),
        rows=first.rows.tolist(),
        labels=first.labels.tolist(),
        visits=visits,
        hits=np.sum(recognised, axis=0).tolist(),
        reward=float(torch.cat(reward).mean()) if reward else None,
        kept=float(torch.cat(kept).mean()) if kept else None,
    )


@dataclass(frozen=True, kw_only=True)
class _Visit:
    """Results of one visit to all videos, on CPU; tensors have one entry per video."""

    scores: NDArray[np.float64]
    multi_hot: NDArray[np.float32]
    labels: Tensor
    rows: Tensor
    macs: Tensor
    local_macs: Tensor
    reward: Tensor | None = None
    kept: Tensor | None = None


@torch.no_grad()
def _visit(
    act: Act, source: FeatureSource, batch_size: int, number: int, *, rewards: bool, recorder: Recorder | None
) -> _Visit:
    visit = Visit(number=number, rewards=rewards or recorder is not None, probabilities=recorder is not None)
    parts: list[dict[str, Tensor]] = []
    for batch in shared_batches(source, batch_size, share="batches"):
        ranks.beat()
        outcome = act(batch, visit)
        if recorder is not None:
            recorder.add(batch, outcome)
        steps = outcome.trace
        part = {
            "logits": outcome.logits, "multi_hot": batch.multi_hot, "labels": batch.labels,
            "rows": batch.videos, "macs": outcome.macs, "local_macs": steps.local_macs.sum(1),
        }  # fmt: skip
        if steps.kept is not None:
            part["kept"] = steps.kept.float()
        if rewards and steps.reward is not None:
            part["reward"] = steps.reward.sum(1).float()
        parts.append({name: value.cpu() for name, value in part.items()})
    if ranks.world() > 1:
        parts = [part for others in ranks.gather(parts) for part in others]
        if recorder is not None:
            recorder.gather()
    whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    if ranks.world() > 1:
        order = whole["rows"].argsort()
        whole = {name: value[order] for name, value in whole.items()}
    scores = log_odds(whole.pop("logits").double().numpy())
    if not np.isfinite(scores).all():
        raise UserError(
            "the predictions of some videos are NaN: the training of these weights has diverged, or the features "
            "are damaged; look at the bank with `adafocus features check RUN`, or train again with a lower rate"
        )
    return _Visit(
        scores=scores,
        multi_hot=whole.pop("multi_hot").numpy(),
        **whole,
    )
