"""Linear heads on f_L's vectors of whole frames, for methods that recognise a clip by the mean of some frames."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from adafocus_rl.agents.methods.base import Method
from adafocus_rl.agents.methods.learnt import FrameVectors, running_mean, whole_frame_boxes
from adafocus_rl.agents.methods.outcome import Cost, Outcome, Steps, Visit
from adafocus_rl.agents.training_options import ClassifierTraining, SGDConfig
from adafocus_rl.features import EpisodeFeatures
from adafocus_rl.seeding import derive_seed, hash_uniform


def head_training() -> ClassifierTraining:
    """Return the training of heads in AR-Net's re-implementation of SCSampler."""
    sgd = SGDConfig(batch_size=48, schedule="steps", milestones=[20, 40])
    return ClassifierTraining(epochs=50, learning_rate=0.02, sgd=sgd)


def recognise_frames(
    method: Method,
    head: nn.Module,
    vectors: FrameVectors,
    batch: EpisodeFeatures,
    times: Tensor,
    *,
    cost: Cost,
    order: Tensor | None = None,
) -> Outcome:
    """Recognise B clips by the mean of a head's logits on some frames; f_L runs on no others.

    Args:
        method: the method.
        head: a linear head on f_L's vectors.
        vectors: f_L's vectors.
        batch: features of B clips.
        times: (B, T) bool or int64, how often each frame counts.
        cost: cost of a frame.
        order: (B, T), ``Steps.order``.
    """
    keep = times > 0
    frames = torch.arange(keep.shape[1], device=keep.device).expand_as(keep)
    logits = head(vectors.read_at(batch, frames, keep))
    boxes = whole_frame_boxes(method.recognizer, keep)
    steps = Steps(logits=running_mean(logits, times), boxes=boxes, kept=keep, cost=cost)
    return Outcome.after(dataclasses.replace(steps, order=order))


def random_scores(method: Method, batch: EpisodeFeatures, visit: Visit) -> Tensor:
    """Return uniform random numbers (B, T), functions of (seed, label, video, frame, visit)."""
    frames = torch.arange(batch.num_steps, device=batch.videos.device)
    visits = torch.full_like(batch.videos, visit.number)[:, None]
    return hash_uniform(derive_seed(method.seed, method.label), batch.videos[:, None], frames[None], visits)


def frame_ranks(scores: Tensor) -> Tensor:
    """Return the rank (B, T) int64 of each frame by its score (B, T); 0 is the highest, and ties keep their order."""
    return scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
