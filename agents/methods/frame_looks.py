"""Parts of methods that search among the frames of a clip: what f_L has read, when, and random searches as long."""

from __future__ import annotations

import torch
from torch import Tensor

from adafocus_rl import ranks
from adafocus_rl.agents.methods.learnt import FrameVectors, whole_frame_boxes
from adafocus_rl.agents.methods.outcome import Cost, Steps
from adafocus_rl.agents.training_options import ClassifierTraining, SGDConfig
from adafocus_rl.features import EpisodeFeatures
from adafocus_rl.models.recognizer import Recognizer


def search_training() -> ClassifierTraining:
    """Return the training of methods that search among frames: Adam with a learning rate of 1e-3."""
    sgd = SGDConfig(batch_size=64, optimizer="adam", weight_decay=0.0, max_grad_norm=1.0)
    return ClassifierTraining(epochs=50, learning_rate=1e-3, sgd=sgd)


class Looks:
    """The frames of B clips that N agents look at; f_L processes each frame once, however often it is looked at.

    Args:
        vectors: f_L's vectors.
        batch: features of B clips.
        ahead: read the vectors of all frames at once, for training on a bank.

    Attributes:
        seen: (B, T) bool, the frames that were looked at.
        first: (B, T) int64, the first step in which a frame was looked at; −1 if in none.
        last: (B, T) int64, the last such step; −1 if there is none.
    """

    def __init__(self, vectors: FrameVectors, batch: EpisodeFeatures, recognizer: Recognizer, *, ahead: bool) -> None:
        self._vectors = vectors
        self._batch = batch
        self._ahead = ahead
        shape, device = (len(batch), batch.num_steps), batch.videos.device
        empty = torch.zeros(*shape, vectors.dim(recognizer), device=device) if not ahead else vectors.read(batch)
        self._features = empty
        self.seen = torch.zeros(*shape, dtype=torch.bool, device=device)
        self.first = torch.full(shape, -1, device=device)
        self.last = torch.full(shape, -1, device=device)

    def read(self, frame: Tensor, active: Tensor, step: int) -> Tensor:
        """Return the vectors (B, N, D_L) of the agents' frames.

        Args:
            frame: (B, N) int64, at frames that were looked at before where the search is over.
            active: (B,) bool, False where the search is over.
            step: number of the step, from 0.
        """
        rows = torch.arange(len(frame), device=frame.device)[:, None]
        if not self._ahead:
            new = ~self.seen[rows, frame] & ~repeated(frame) & active[:, None]
            found = self._vectors.read_at(self._batch, frame, new)
            self._features = self._features.scatter_add(1, frame[..., None].expand_as(found), found)
        here = torch.zeros_like(self.seen).scatter(1, frame, True) & active[:, None]
        self.first = torch.where(here & ~self.seen, step, self.first)
        self.last = torch.where(here, step, self.last)
        self.seen = self.seen | here
        return self._features[rows, frame]

    def trace(self, recognizer: Recognizer, logits: Tensor, cost: Cost) -> Steps:
        """Return the trace of the search, in the frames' own order.

        The logits of a frame are those after the last step that was spent on it or on an earlier frame, and zeros
        before the first such frame. Those of the last frame are the prediction.

        Args:
            recognizer: f_L.
            logits: (B, S, K) predictions after each step of the search.
            cost: cost of a frame.
        """
        until = self.last.cummax(dim=1).values
        found = logits.gather(1, until.clamp(min=0)[..., None].expand(-1, -1, logits.shape[-1]))
        return Steps(
            logits=torch.where(until[..., None] >= 0, found, 0.0),
            boxes=whole_frame_boxes(recognizer, self.seen),
            kept=self.seen,
            order=self.first,
            cost=cost,
        )


def repeated(frame: Tensor) -> Tensor:
    """Return whether each of the frames (B, M) has occurred before in its row."""
    return (frame[:, :, None] == frame[:, None, :]).tril(-1).any(-1)


def random_frames(frames: Tensor, scores: Tensor) -> Tensor:
    """Return a search (B, S, N) with random frames that looks at as many different frames as a given one.

    It begins at the same frames. Where the given search looks at a frame for the first time, it looks at a random frame
    for the first time; where it does not, the agent stays.

    Args:
        frames: (B, S, N) int64, frames of N agents in S steps of the given search, N different ones in the first.
        scores: (B, T) random numbers in [0, 1).
    """
    count = frames.shape[2]
    flat = frames.flatten(1)
    new = ~repeated(flat)
    start = torch.arange(count, 0, -1, device=frames.device, dtype=scores.dtype).expand(len(frames), -1)
    order = scores.scatter(1, frames[:, 0], start).argsort(dim=1, descending=True)
    # Every agent keeps the rank of its last new frame.
    rank = torch.where(new, new.cumsum(1) - 1, -1).view(frames.shape).cummax(dim=1).values
    return order.gather(1, rank.flatten(1)).view(frames.shape)


def standardised(values: Tensor, counts: Tensor | None = None) -> Tensor:
    """Return values with a mean of 0 and a standard deviation of 1 over those of all ranks that count.

    Args:
        values: (…,).
        counts: (…,) float32, 1 for values that count and 0 for the others; None for all.
    """
    counts = torch.ones_like(values) if counts is None else counts
    total = ranks.total(counts.sum()).clamp(min=1)
    centred = values - ranks.total((values * counts).sum()) / total
    return centred / (ranks.total((centred.square() * counts).sum()).div(total).sqrt() + 1e-5)


def discounted(reward: Tensor, gamma: float) -> Tensor:
    """Return the discounted sums (B, S, …) of the rewards of each step and those after it.

    Args:
        reward: (B, S, …).
        gamma: γ.
    """
    step = torch.arange(reward.shape[1], device=reward.device)
    ahead = step[None] - step[:, None]
    weight = torch.where(ahead >= 0, gamma ** ahead.clamp(min=0).float(), 0.0)
    return torch.einsum("st,bt...->bs...", weight, reward)
