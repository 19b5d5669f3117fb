"""Stage III: fine-tune f_C on the learnt policy's patches; also the whole-frame row's own f_C, by the same loop."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from adafocus_rl.agents import Agent
from adafocus_rl.experiments.config.stages import SGDConfig
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.training.optim import clip_gradients, set_rate, sgd_optimizer
from adafocus_rl.experiments.training.progress import Mean, StageProgress
from adafocus_rl.features import EpisodeFeatures, FeatureSource
from adafocus_rl.models.classifiers import Classifier, sequence_loss

LocalFeatures = Callable[[EpisodeFeatures, int], Tensor]
"""From episodes and the epoch to f_L features (B, T, D_L)."""


def finetune_classifier(
    run: Run, classifier: Classifier, agent: Agent, source: FeatureSource, *, stage: str = "stage3"
) -> float:
    """Fine-tunes f_C with the agent's best actions (appendix B.1, stage III); the agent stays as it is.

    Args:
        run: the run.
        classifier: f_C, changed in place.
        agent: who chooses the patches, or which frames to keep.
        source: features of the training videos; an agent's that skips frames have π's patches in them.
        stage: name in logs and stem of checkpoints.

    Returns:
        Seconds of training.
    """
    config = run.config.stage3

    def local(episodes: EpisodeFeatures, epoch: int) -> Tensor:
        visit = torch.full_like(episodes.videos, epoch)
        _, output = agent.env.decide(agent, episodes, agent.env.info(episodes, visit), deterministic=True)
        return agent.env.local(episodes, output.action)

    return _train_classifier(
        run, stage, classifier, source, local, epochs=config.epochs, rate=config.learning_rate, sgd=config.sgd
    )


def train_full_frame_classifier(
    run: Run, classifier: Classifier, source: FeatureSource, *, epochs: int, rate: float, sgd: SGDConfig
) -> float:
    """Trains an f_C of its own on f_L's features of whole frames: the reference row.

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

    return _train_classifier(run, "full_frame", classifier, source, local, epochs=epochs, rate=rate, sgd=sgd)


def _train_classifier(
    run: Run,
    stage: str,
    classifier: Classifier,
    source: FeatureSource,
    local: LocalFeatures,
    *,
    epochs: int,
    rate: float,
    sgd: SGDConfig,
) -> float:
    optimizer = sgd_optimizer([(classifier, rate)], sgd)
    progress = StageProgress(run, stage, modules={"classifier": classifier}, optimizer=optimizer)
    steps = -(-len(source.videos) // sgd.batch_size)
    for epoch, ticker in progress.epochs(epochs, steps):
        classifier.train()
        mean = Mean()
        for step, episodes in enumerate(source.batches(sgd.batch_size, epoch=epoch)):
            set_rate(optimizer, sgd, epoch * steps + step, steps=steps, epochs=epochs)
            logits = classifier(torch.cat((episodes.global_vector, local(episodes, epoch)), dim=-1))
            loss = sequence_loss(logits, episodes.labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            clip_gradients(optimizer, sgd)
            optimizer.step()
            mean.add(len(episodes), loss=loss, top1=(logits[:, -1].argmax(-1) == episodes.labels).float().mean())
            ticker.advance()
        run.clips.note_failures(source.failed)
        scalars = mean.values()
        ticker.advance(0, f"loss {scalars['loss']:.3f} top-1 {scalars['top1']:.3f}")
        progress.end_epoch(epoch, {f"train/{name}": value for name, value in scalars.items()})
    classifier.eval()
    return progress.seconds
