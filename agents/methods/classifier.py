"""Training of f_C on frozen features, for stage III and for methods that have an f_C of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from adafocus_rl.agents.base import Agent
from adafocus_rl.agents.methods.trainer import Trainer
from adafocus_rl.agents.supervised import SupervisedLearner
from adafocus_rl.agents.training_options import ClassifierTraining
from adafocus_rl.envs import DecisionVectorEnv
from adafocus_rl.features import EpisodeFeatures, FeatureSource
from adafocus_rl.features.shares import own_parts
from adafocus_rl.models.batch_norm import statistics_of_all_ranks
from adafocus_rl.models.classifiers import Classifier, sequence_loss

LocalFeatures = Callable[[EpisodeFeatures, int], Tensor]
"""Maps B videos and the number of the epoch to the f_L features (B, T, D_L) that f_C is trained on."""


def chosen_features(agent: Agent, env: DecisionVectorEnv, *, deterministic: bool = True) -> LocalFeatures:
    """Return a function that returns the f_L features that f_C receives after an agent's actions.

    Args:
        agent: selects the patches, or the frames to keep; each epoch is another visit.
        env: the agent's environment on the training videos.
        deterministic: take the best actions instead of samples.
    """
    bound = agent.bind(env)

    def local(episodes: EpisodeFeatures, epoch: int) -> Tensor:
        visit = torch.full_like(episodes.videos, epoch)
        _, output = env.decide(bound, episodes, env.info(episodes, visit), deterministic=deterministic)
        return env.local(episodes, output.action)

    return local


@dataclass(frozen=True, kw_only=True)
class FeatureBatch:
    """A minibatch of frozen features."""

    vectors: Tensor
    """(B, T, D_G + D_L)."""

    labels: Tensor
    """(B,) int64."""

    rows: Tensor
    """(B,) rows of the index."""

    share: float
    """Share of the batch of all ranks."""

    def __len__(self) -> int:
        return len(self.labels)


def train_classifier(
    trainer: Trainer,
    step: str,
    classifier: Classifier,
    source: FeatureSource,
    local: LocalFeatures,
    *,
    training: ClassifierTraining,
) -> float:
    """Train f_C with the mean cross-entropy over all steps, and put it in evaluation mode.

    Args:
        trainer: runs the epochs.
        step: name of the step in logs and checkpoints.
        classifier: f_C, changed in place.
        source: features of the training videos.
        local: selects the f_L features of a batch.
        training: epochs, learning rate and optimiser.

    Returns:
        Seconds of training.

    Raises:
        UserError: if the training diverges.
    """

    def batches(epoch: int) -> Iterator[FeatureBatch]:
        for episodes in own_parts(source, training.sgd.batch_size, epoch=epoch):
            vectors = torch.cat((episodes.global_vector, local(episodes, epoch)), dim=-1)
            yield FeatureBatch(vectors=vectors, labels=episodes.labels, rows=episodes.videos, share=episodes.share)

    def losses(batch: FeatureBatch, part: slice) -> tuple[Tensor, dict[str, Tensor]]:
        labels = batch.labels[part]
        with statistics_of_all_ranks(classifier, batch.share):
            logits = classifier(batch.vectors[part])
        loss = sequence_loss(logits, labels)
        return loss, {"loss": loss, "top1": (logits[:, -1].argmax(-1) == labels).float().mean()}

    steps = -(-len(source.videos) // training.sgd.batch_size)
    learner = SupervisedLearner(
        {"classifier": classifier},
        [(classifier, training.learning_rate)],
        batches,
        losses,
        sgd=training.sgd,
        steps=steps,
        epochs=training.epochs,
        device=next(classifier.parameters()).device,
    )
    seconds = trainer.fit(step, learner, epochs=training.epochs, ticks=steps)
    classifier.eval()
    return seconds
