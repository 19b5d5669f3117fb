"""The numbers of the results table: accuracy on the bank, compute counted, time measured on decoded frames."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from adafocus_rl.agents import Agent
from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.data.dataset import ClipDataset, make_loader
from adafocus_rl.envs.tracing import Tracer
from adafocus_rl.errors import UserError
from adafocus_rl.features import EpisodeFeatures, FeatureSource
from adafocus_rl.features.live import LiveEpisodes
from adafocus_rl.metrics import hits, mean_average_precision
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.models.recognizer import Recognizer

ROUNDS = 3
"""Timed rounds over the videos, after one to warm up."""

Predict = Callable[[EpisodeFeatures, int], Tensor]
"""From episodes and the number of the visit to logits (B, K)."""


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Accuracy over a set of videos.

    Attributes:
        top1: share of videos whose best class is a true one, in [0, 1]; mean over the visits.
        map: mean average precision over the classes that have a positive, in [0, 1]; mean over the visits.
        rows: of the index, one for each video.
        labels: (first) class of each video.
        visits: times that each video was seen.
        hits: times that each video was recognised.
        reward: mean over videos and visits of the sum of an episode's rewards; None where none was computed.
        kept: share of the frames that f_L looked at, of agents that skip frames; else None.
    """

    top1: float
    map: float
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


def evaluate_agent(
    agent: Agent,
    classifier: Classifier,
    source: FeatureSource,
    *,
    batch_size: int,
    repeats: int = 1,
    with_reward: bool = False,
    tracer: Tracer | None = None,
) -> Accuracy:
    """Runs the agent's best actions on all videos of a source; a random agent ``repeats`` times.

    Args:
        agent: who chooses.
        classifier: f_C.
        source: features of the videos.
        batch_size: videos at once; does not change the result.
        repeats: visits of each video over which the metrics of stochastic agents are averaged.
        with_reward: compute rewards in all visits, which takes longer.
        tracer: takes down the first visit, rewards included.
    """
    env = agent.env.like(source, classifier, num_envs=batch_size)

    kept: list[Tensor] = []
    rewards: list[Tensor] = []

    def predict(episodes: EpisodeFeatures, visit: int) -> Tensor:
        traced = tracer is not None and visit == 0
        rollout = env.rollout(
            agent.bind(env), episodes=episodes, visit=visit, deterministic=True, with_reward=traced or with_reward
        )
        if tracer is not None and traced:
            tracer.add(env, rollout)
        if with_reward:
            rewards.append(rollout.reward.sum(1).float())
        if env.skips_frames:
            kept.append(env.kept_frames(rollout).float())
        return rollout.logits[:, -1]

    found = _accuracy(env.source, batch_size, predict, repeats if agent.stochastic else 1)
    return dataclasses.replace(
        found,
        reward=float(torch.cat(rewards).mean()) if rewards else None,
        kept=float(torch.cat(kept).mean()) if kept else None,
    )


def evaluate_full_frames(
    classifier: Classifier, source: FeatureSource, *, batch_size: int, tracer: Tracer | None = None
) -> Accuracy:
    """f_L on every whole frame (bank table ``full``) with an f_C trained on those features; ``tracer`` as above."""

    def predict(episodes: EpisodeFeatures, visit: int) -> Tensor:
        logits: Tensor = classifier(torch.cat((episodes.global_vector, episodes.full()), dim=-1))
        if tracer is not None:
            tracer.add_whole_frames(episodes, logits, frame_size=source.grid.frame_size)
        return logits[:, -1]

    return _accuracy(source, batch_size, predict, 1)


@torch.no_grad()
def _accuracy(source: FeatureSource, batch_size: int, predict: Predict, visits: int) -> Accuracy:
    precision, recognised = [], []
    for visit in range(visits):
        scores, truth, labels, rows = [], [], [], []
        for episodes in source.batches(batch_size):
            scores.append(predict(episodes, visit).float().softmax(-1).cpu())
            truth.append(episodes.multi_hot.cpu())
            labels.append(episodes.labels.cpu())
            rows.append(episodes.videos.cpu())
        table, multi_hot = torch.cat(scores).numpy(), torch.cat(truth).numpy()
        if not np.isfinite(table).all():
            raise UserError(
                "the predictions of some videos are NaN: the training of these weights has diverged, or the features "
                "are damaged; look at the bank with `adafocus features check RUN`, or train again with a lower rate"
            )
        recognised.append(hits(table, multi_hot))
        precision.append(mean_average_precision(table, multi_hot).value)
    return Accuracy(
        top1=float(np.mean(recognised)),
        map=statistics.fmean(precision),
        rows=torch.cat(rows).tolist(),
        labels=torch.cat(labels).tolist(),
        visits=visits,
        hits=np.sum(recognised, axis=0).tolist(),
    )


def clips_to_time(dataset: ClipDataset, count: int, *, workers: int = 0) -> list[ClipBatch]:
    """The first ``count`` videos of a dataset that can be decoded, each a batch of its own.

    One process decodes them, unless ``workers`` is 0: a video may crash it.
    """
    rows = range(min(count, len(dataset)))
    loader = make_loader(dataset, batches=[[row] for row in rows], workers=min(1, workers))
    return [clip for clip in loader if len(clip)]


@torch.no_grad()
def milliseconds(
    recognizer: Recognizer, classifier: Classifier, agent: Agent | None, clips: list[ClipBatch], *, device: torch.device
) -> float | None:
    """Median time to recognise one video from decoded frames: f_G, the agent, f_L and f_C, batch size 1.

    Args:
        recognizer: f_G and f_L.
        classifier: f_C.
        agent: chooses patches; None runs f_L on whole frames.
        clips: batches of one video; decoding them is not part of the time.
        device: where it runs.

    Returns:
        Milliseconds; None without clips.
    """
    times = []
    for number in range(1 + ROUNDS):
        for clip in clips:
            _synchronize(device)
            started = time.perf_counter()
            episodes = LiveEpisodes(recognizer, clip, device=device)
            if agent is None:
                local = episodes.full()
            else:
                info = agent.env.info(episodes, torch.zeros_like(episodes.videos))
                _, output = agent.env.decide(agent, episodes, info, deterministic=True)
                local = agent.env.local(episodes, output.action)
            classifier(torch.cat((episodes.global_vector, local), dim=-1))
            _synchronize(device)
            if number:
                times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times) if times else None


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
