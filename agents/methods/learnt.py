"""Base of methods with networks of their own on frozen features, and the parts that several of them share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from adafocus_rl import checkpoint
from adafocus_rl.agents.methods.base import Method
from adafocus_rl.agents.methods.trainer import Trainer
from adafocus_rl.agents.supervised import SupervisedLearner
from adafocus_rl.agents.training_options import ClassifierTraining
from adafocus_rl.errors import UserError
from adafocus_rl.features import FULL, GLANCE_VECTORS, EpisodeFeatures, FeatureSource, TableSpec, vectors_at
from adafocus_rl.features.shares import own_parts
from adafocus_rl.flops import encoder_macs
from adafocus_rl.models.batch_norm import statistics_of_all_ranks
from adafocus_rl.models.config import ModelConfig
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.seeding import isolated


@dataclass(frozen=True, kw_only=True)
class VideoBatch:
    """Episodes as a minibatch of ``SupervisedLearner``."""

    episodes: EpisodeFeatures
    """The videos."""

    epoch: int
    """Number of the pass, to draw random numbers from."""

    @property
    def rows(self) -> Tensor:
        """(B,) rows of the index."""
        return self.episodes.videos

    @property
    def share(self) -> float:
        """Share of the batch of all ranks."""
        return self.episodes.share

    def __len__(self) -> int:
        return len(self.episodes)


Loss = Callable[[EpisodeFeatures, int], tuple[Tensor, dict[str, Tensor]]]
"""Takes B videos and the number of the epoch; returns their mean loss, and scalars to log, which are means, too."""


class NetworkMethod(Method):
    """A method with networks of its own, which are all that it saves.

    A subclass creates ``networks`` in ``_create``. Initial weights depend on the seed and the label only.

    Args:
        recognizer: frozen f_G and f_L.
        options: an instance of ``Options``, which has a field ``training``; None uses the defaults.
        seed: seed of initial weights and random numbers.
    """

    learns = True

    def __init__(self, recognizer: Recognizer, options: Any = None, *, seed: int = 0) -> None:
        super().__init__(recognizer, options, seed=seed)
        with isolated("method", self.label, seed):
            self.networks = nn.ModuleDict(self._create())
        self.networks.to(next(recognizer.parameters()).device).eval()

    @abstractmethod
    def _create(self) -> dict[str, nn.Module]:
        """Return the networks to train, by name."""

    @property
    def training(self) -> ClassifierTraining:
        """Epochs, learning rate and optimiser of ``fit``."""
        training: ClassifierTraining = self.options.training
        return training

    def tensors(self) -> dict[str, Tensor]:
        """Return the networks' weights."""
        return dict(self.networks.state_dict())

    def load_tensors(self, tensors: dict[str, Tensor], *, what: str) -> None:  # type: ignore[override]
        """Restore the networks' weights."""
        checkpoint.load_into(self.networks, tensors, prefix="", what=what)


class LearntMethod(NetworkMethod):
    """A method whose networks learn from the labels of the training videos, in one training.

    A subclass creates ``networks`` in ``_create`` and defines ``loss``.
    """

    @abstractmethod
    def loss(self, episodes: EpisodeFeatures, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean loss over B videos, and scalars to log, which are means, too (``loss``, ``top1``).

        With several ranks, the videos are ``episodes.share`` of the batch, and the loss of the batch is the mean of the
        ranks' losses with these weights. A loss of something else than the mean over videos, such as the square of a
        mean, reads it with ``ranks.added``.
        """

    def fit(self, train: FeatureSource, val: FeatureSource, *, trainer: Trainer) -> None:
        """Train the networks.

        Raises:
            UserError: if the training diverges.
        """
        fit_networks(self.networks, self.loss, train, training=self.training, trainer=trainer, step=self.stem)


def fit_networks(
    networks: nn.Module,
    loss: Loss,
    train: FeatureSource,
    *,
    training: ClassifierTraining,
    trainer: Trainer,
    step: str,
) -> None:
    """Train networks on the training videos, and put them in evaluation mode.

    Args:
        networks: changed in place.
        loss: the loss to minimise.
        train: features of the training videos.
        training: epochs, learning rate and optimiser.
        trainer: runs the epochs.
        step: name of the training in logs and checkpoints.

    Raises:
        UserError: if the training diverges.
    """

    def batches(epoch: int) -> Iterator[VideoBatch]:
        for episodes in own_parts(train, training.sgd.batch_size, epoch=epoch):
            yield VideoBatch(episodes=episodes, epoch=epoch)

    def losses(batch: VideoBatch, part: slice) -> tuple[Tensor, dict[str, Tensor]]:
        with statistics_of_all_ranks(networks, batch.share):
            return loss(batch.episodes, batch.epoch)

    steps = -(-len(train.videos) // training.sgd.batch_size)
    learner = SupervisedLearner(
        {"networks": networks},
        [(networks, training.learning_rate)],
        batches,
        losses,
        sgd=training.sgd,
        steps=steps,
        epochs=training.epochs,
        device=next(networks.parameters()).device,
    )
    trainer.fit(step, learner, epochs=training.epochs, ticks=steps)
    networks.eval()


@dataclass(frozen=True, kw_only=True)
class FrameVectors:
    """Vectors of one encoder on whole frames of one size, in a bank or live."""

    part: Literal["glance", "focus"]
    """f_G or f_L."""

    size: int
    """Side of its input in pixels."""

    own: bool
    """Whether these are the features that every bank has: f_G at the glance size, f_L at the frame size."""

    @classmethod
    def of(cls, part: Literal["glance", "focus"], size: int | None, model: ModelConfig) -> FrameVectors:
        """Return the vectors at a size; None is the recognizer's own size.

        Raises:
            UserError: if the encoder computes no vectors of single frames.
        """
        encoder = model.glance if part == "glance" else model.focus
        if encoder.name == "none" or encoder.num_frames:
            why = "is 'none'" if encoder.name == "none" else "processes clips as a whole"
            raise UserError(
                f"a method needs features of single frames, but model.{part} {why}; use another encoder, or leave the "
                "method out"
            )
        own = model.glance_size if part == "glance" else model.frame_size
        return cls(part=part, size=own if size is None else size, own=size in (None, own))

    @property
    def tables(self) -> tuple[TableSpec, ...]:
        """Tables that a bank needs for them, besides those of every bank."""
        return () if self.own else (vectors_at(self.part, self.size),)

    def read(self, batch: EpisodeFeatures) -> Tensor:
        """Return the vectors (B, T, D) of all frames."""
        if not self.own:
            return batch.table(vectors_at(self.part, self.size))
        return batch.global_vector if self.part == "glance" else batch.full()

    def read_at(self, batch: EpisodeFeatures, step: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return the vectors (B, M, D) of frames (B, M); zeros where ``keep`` (B, M) is False, without computing."""
        own = GLANCE_VECTORS if self.part == "glance" else FULL
        return batch.table_at(own if self.own else vectors_at(self.part, self.size), step, keep)

    def dim(self, recognizer: Recognizer) -> int:
        """Return D."""
        return (recognizer.glance if self.part == "glance" else recognizer.focus).vector_dim

    def macs(self, recognizer: Recognizer) -> int:
        """Return the MACs of one frame."""
        return encoder_macs(recognizer.glance if self.part == "glance" else recognizer.focus, self.size)


def running_mean(values: Tensor, keep: Tensor) -> Tensor:
    """Return, after each step, the mean of the values so far; zeros before the first one.

    Args:
        values: (B, T, K).
        keep: (B, T) bool, the steps whose values count, or int64, how often each counts.

    Returns:
        (B, T, K).
    """
    weight = keep[..., None].to(values.dtype)
    count = weight.cumsum(1).clamp(min=1)
    return (values * weight).cumsum(1) / count


def whole_frame_boxes(recognizer: Recognizer, steps: Tensor) -> Tensor:
    """Return boxes (B, T, 4) of whole frames, for a tensor of (B, T) steps."""
    box = torch.zeros(4, dtype=torch.int64, device=steps.device)
    box[2:] = recognizer.grid.frame_size  # filled on the device, because a copy of host memory would wait for it
    return box.expand(*steps.shape, 4)
