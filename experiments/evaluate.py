"""Numbers of the results table: accuracy on the bank, compute counted, time measured on decoded frames."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adafocus_rl.agents import Agent
from adafocus_rl.data.dataset import ClipDataset, make_loader
from adafocus_rl.envs import PatchSelectionVectorEnv
from adafocus_rl.features import FeatureSource
from adafocus_rl.features.live import LiveEpisodes
from adafocus_rl.flops import component_macs, video_macs
from adafocus_rl.metrics import mean_average_precision, top1
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.models.recognizer import Recognizer


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Accuracy over a set of videos.

    Attributes:
        top1: share of videos whose best class is a true one, in [0, 1].
        map: mean average precision over the classes that have a positive, in [0, 1].
        videos: number of videos.
        scores: (N, K) probabilities of the last visit.
        rows: (N,) index rows of the videos.
    """

    top1: float
    map: float
    videos: int
    scores: NDArray[np.float32]
    rows: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the results table; accuracies in [0, 1], GMACs per video by the conv+fc convention."""

    agent: str
    after_stage: int
    top1: float
    map: float
    gmacs_per_video: float
    local_gmacs_per_video: float
    ms_per_video: float
    videos: int

    def as_dict(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def _accuracy(source: FeatureSource, batch_size: int, predict: Callable[..., Tensor], visits: int) -> Accuracy:
    """Averages the metrics over ``visits`` passes of ``predict(episodes, visit) -> logits (B, K)``."""
    values = []
    for visit in range(visits):
        scores, truth, rows = [], [], []
        for episodes in source.batches(batch_size):
            scores.append(predict(episodes, visit).softmax(-1).float().cpu())
            truth.append(episodes.multi_hot.cpu())
            rows.append(episodes.videos.cpu())
        table, labels = torch.cat(scores).numpy(), torch.cat(truth).numpy()
        values.append((top1(table, labels), mean_average_precision(table, labels).value))
    return Accuracy(
        top1=statistics.fmean(value[0] for value in values),
        map=statistics.fmean(value[1] for value in values),
        videos=len(labels),
        scores=table,
        rows=torch.cat(rows).numpy(),
    )


def evaluate_agent(
    agent: Agent, classifier: Classifier, source: FeatureSource, *, batch_size: int, repeats: int = 1
) -> Accuracy:
    """Runs the agent's best actions on all videos of a source; a random agent ``repeats`` times.

    Args:
        agent: who chooses.
        classifier: f_C.
        source: features of the videos.
        batch_size: videos at once; does not change the result.
        repeats: visits of each video over which the metrics of stochastic agents are averaged.
    """
    env = PatchSelectionVectorEnv(source, classifier, num_envs=batch_size)

    @torch.no_grad()
    def predict(episodes, visit):  # type: ignore[no-untyped-def]
        rollout = env.rollout(agent, episodes=episodes, visit=visit, deterministic=True, with_reward=False)
        return rollout.logits[:, -1]

    return _accuracy(source, batch_size, predict, repeats if agent.stochastic else 1)


def evaluate_full_frames(classifier: Classifier, source: FeatureSource, *, batch_size: int) -> Accuracy:
    """f_L on every whole frame (bank table ``full``) with an f_C trained on those features."""

    @torch.no_grad()
    def predict(episodes, visit):  # type: ignore[no-untyped-def]
        logits: Tensor = classifier(torch.cat((episodes.global_vector, episodes.full()), dim=-1))
        return logits[:, -1]

    return _accuracy(source, batch_size, predict, 1)


def gmacs(recognizer: Recognizer, *, num_frames: int, policy_macs: int, full_frames: bool) -> tuple[float, float]:
    """(all, f_L's) GMACs of one video, counted on CPU; conv+fc convention."""
    costs = video_macs(
        component_macs(recognizer),
        num_frames=num_frames,
        policy_macs=policy_macs,
        uses_patch=not full_frames,
        uses_full=full_frames,
    )
    return costs["total"] / 1e9, costs["local"] / 1e9


def milliseconds(
    recognizer: Recognizer,
    classifier: Classifier,
    agent: Agent | None,
    dataset: ClipDataset,
    *,
    device: torch.device,
    videos: int,
) -> float:
    """Median time to recognise one video from decoded frames: f_G, the agent, f_L and f_C, batch size 1.

    Args:
        recognizer: f_G and f_L.
        classifier: f_C.
        agent: chooses patches; None runs f_L on whole frames.
        dataset: where the videos come from; decoding is not part of the time.
        device: where it runs.
        videos: how many videos, three rounds each, after one round to warm up; 0 measures nothing and gives NaN.
    """
    loader = make_loader(dataset, batches=[[row] for row in range(min(videos, len(dataset)))])
    clips = [clip for clip in loader if len(clip)]
    if not clips:
        return float("nan")
    env = agent.env if agent else None
    times = []
    with torch.no_grad():
        for round_ in range(4):
            for clip in clips:
                _synchronize(device)
                started = time.perf_counter()
                episodes = LiveEpisodes(recognizer, clip, device=device)
                if agent and env:
                    visits = torch.zeros_like(episodes.videos)
                    action = agent.act(episodes.global_map, env.info(episodes, visits), deterministic=True).action
                    local = episodes.local(action)
                else:
                    local = episodes.full()
                classifier(torch.cat((episodes.global_vector, local), dim=-1))
                _synchronize(device)
                if round_:
                    times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
