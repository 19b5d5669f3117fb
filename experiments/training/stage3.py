"""Stage III: fine-tune f_C on the learnt policy's patches; also the whole-frame row's own f_C, by the same loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from adafocus_rl.agents import Agent
from adafocus_rl.envs import DecisionVectorEnv
from adafocus_rl.experiments.config.stages import SGDConfig
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.steps import CLASSIFIER, FULL_FRAME, Step
from adafocus_rl.experiments.training.supervised import SupervisedLearner
from adafocus_rl.experiments.training.trainer import RunTrainer
from adafocus_rl.features import EpisodeFeatures, FeatureSource
from adafocus_rl.models.classifiers import Classifier, sequence_loss

LocalFeatures = Callable[[EpisodeFeatures, int], Tensor]
"""From episodes and the epoch to f_L features (B, T, D_L)."""


@dataclass(frozen=True, kw_only=True)
class FeatureBatch:
    """What f_C learns from."""

    vectors: Tensor
    """(B, T, D_G + D_L)."""

    labels: Tensor
    """(B,) int64."""

    rows: Tensor
    """(B,) rows of the index."""

    def __len__(self) -> int:
        return len(self.labels)


def finetune_classifier(
    run: Run, classifier: Classifier, agent: Agent, env: DecisionVectorEnv, *, step: Step = CLASSIFIER
) -> float:
    """Fine-tune f_C with the agent's best actions (appendix B.1, stage III); the agent stays as it is.

    Args:
        run: the run.
        classifier: f_C, changed in place.
        agent: who chooses the patches, or which frames to keep.
        env: the agent's environment, on the training videos.
        step: which one it is.

    Returns:
        Seconds of training.
    """
    config = run.config.stage3
    bound = agent.bind(env)

    def local(episodes: EpisodeFeatures, epoch: int) -> Tensor:
        visit = torch.full_like(episodes.videos, epoch)
        _, output = env.decide(bound, episodes, env.info(episodes, visit), deterministic=True)
        return env.local(episodes, output.action)

    return _train_classifier(
        run, step, classifier, env.source, local, epochs=config.epochs, rate=config.learning_rate, sgd=config.sgd
    )


def train_full_frame_classifier(
    run: Run, classifier: Classifier, source: FeatureSource, *, epochs: int, rate: float, sgd: SGDConfig
) -> float:
    """Train an f_C of its own on f_L's features of whole frames: the reference row.

    Args:
        run: the run.
        classifier: a new f_C, changed in place.
        source: features of the training videos.
        epochs: passes over them.
        rate: initial learning rate.
        sgd: optimiser.

    Returns:
        Seconds of training.
    """

    def local(episodes: EpisodeFeatures, epoch: int) -> Tensor:
        return episodes.full()

    return _train_classifier(run, FULL_FRAME, classifier, source, local, epochs=epochs, rate=rate, sgd=sgd)


def _train_classifier(
    run: Run,
    step: Step,
    classifier: Classifier,
    source: FeatureSource,
    local: LocalFeatures,
    *,
    epochs: int,
    rate: float,
    sgd: SGDConfig,
) -> float:
    def batches(epoch: int) -> Iterator[FeatureBatch]:
        for episodes in source.batches(sgd.batch_size, epoch=epoch):
            vectors = torch.cat((episodes.global_vector, local(episodes, epoch)), dim=-1)
            yield FeatureBatch(vectors=vectors, labels=episodes.labels, rows=episodes.videos)
        run.clips.note_failures(source.failed)

    def losses(batch: FeatureBatch, part: slice) -> tuple[Tensor, dict[str, Tensor]]:
        labels = batch.labels[part]
        logits = classifier(batch.vectors[part])
        loss = sequence_loss(logits, labels)
        return loss, {"loss": loss, "top1": (logits[:, -1].argmax(-1) == labels).float().mean()}

    steps = -(-len(source.videos) // sgd.batch_size)
    learner = SupervisedLearner(
        {"classifier": classifier},
        [(classifier, rate)],
        batches,
        losses,
        sgd=sgd,
        steps=steps,
        epochs=epochs,
        device=run.device,
    )
    seconds = RunTrainer(run).fit(step.name, learner, epochs=epochs, ticks=steps)
    classifier.eval()
    return seconds
