"""Stage 0: initialise f_G and f_L by classifying whole frames (appendix B.1)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adafocus_rl.agents.supervised import SupervisedLearner, autocast
from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.experiments.config.stages import Stage0Config, StillsConfig
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.steps import ENCODERS, STILLS, Step
from adafocus_rl.experiments.training.trainer import RunTrainer
from adafocus_rl.models.classifiers import AveragingClassifier
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.seeding import seed_all


def train_encoders(run: Run, recognizer: Recognizer) -> float:
    """Train f_G (at the glance size) and f_L (at the frame size) side by side, each with a linear head.

    If the data has close-ups, encoders are trained on them first, which replaces pre-training on ImageNet for encoders
    without published weights. An averaging f_C starts with the two heads' weights, because its logits of a clip are the
    sum of theirs (AdaFocus-TSM); otherwise the heads are discarded.

    Args:
        run: the run.
        recognizer: f_G, f_L and an averaging f_C are changed in place; any other f_C is left unchanged.

    Returns:
        Seconds of training.
    """
    config = run.config.stage0
    classes = recognizer.config.num_classes
    seed_all(run.config.seed, "heads")
    encoders = {"glance": recognizer.glance, "focus": recognizer.focus}
    # A system without f_G has an f_G without features, which gets no head.
    linears = {name: nn.Linear(encoder.vector_dim, classes) for name, encoder in encoders.items() if encoder.vector_dim}
    heads = nn.ModuleDict(linears).to(run.device)
    seconds = 0.0
    if run.clips.stills is not None:
        # When stage 0 resumes, these epochs are done, and this only loads their result.
        seconds += _classify(run, recognizer, heads, run.clips.stills, STILLS, config.stills)
    seconds += _classify(run, recognizer, heads, run.clips.train, ENCODERS, config)
    if isinstance(recognizer.classifier, AveragingClassifier):
        recognizer.classifier.begin_with(*linears.values())
    recognizer.eval()
    return seconds


def _classify(
    run: Run,
    recognizer: Recognizer,
    heads: nn.ModuleDict,
    dataset: ClipDataset,
    step: Step,
    config: Stage0Config | StillsConfig,
) -> float:
    """Train both encoders on one dataset, with cross-entropy.

    A clip is classified by the mean of its frames' logits, since its class is visible in some frame; a still by its
    own, since its class is visible in each. Heads are trained in float32, whatever the precision of the encoders.
    """
    rate = config.learning_rate
    of_frames = isinstance(config, StillsConfig)
    own_rate = config.head_learning_rate if isinstance(config, Stage0Config) else None
    compute = run.config.stage0.compute
    recognizer.glance.recompute = recognizer.focus.recompute = compute.recompute
    dropout = nn.Dropout(run.config.stage0.dropout)
    passes = run.clips.passes(dataset, config.sgd.batch_size)

    def batches(epoch: int) -> Iterator[ClipBatch | None]:
        for batch in passes(epoch):
            yield None if batch is None else batch.to(run.device, non_blocking=True)

    def classify(head: nn.Module, vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and the top-1 accuracy of vectors (B, F, D)."""
        logits: Tensor = head(dropout(vectors.float()))
        if of_frames:
            logits, labels = logits.flatten(0, 1), labels.repeat_interleave(vectors.shape[1])
        else:
            logits = logits.mean(1)
        return F.cross_entropy(logits, labels), (logits.argmax(-1) == labels).float().mean()

    def losses(batch: ClipBatch, part: slice) -> tuple[Tensor, dict[str, Tensor]]:
        with autocast(compute, run.device):
            clips = recognizer.prepare(batch.clips[part])
            seen = {"glance": recognizer.glance_frames(clips), "focus": recognizer.focus_frames(clips)}
            _, glance = recognizer.glance_features(seen["glance"].flatten(0, 1))
            vectors = {"glance": glance, "focus": recognizer.full_features(seen["focus"].flatten(0, 1))}
        scalars: dict[str, Tensor] = {}
        for name, head in heads.items():
            found = classify(head, vectors[name].unflatten(0, seen[name].shape[:2]), batch.labels[part])
            scalars[f"{name}_loss"], scalars[f"{name}_top1"] = found
        return torch.stack([scalars[f"{name}_loss"] for name in heads]).sum(), scalars

    steps = -(-len(dataset) // config.sgd.batch_size)
    learner = SupervisedLearner(
        {"recognizer": recognizer, "heads": heads},
        [(nn.ModuleList([recognizer.glance, recognizer.focus]), rate), (heads, rate if own_rate is None else own_rate)],
        batches,
        losses,
        sgd=config.sgd,
        steps=steps,
        epochs=config.epochs,
        device=run.device,
        compute=compute,
    )
    return RunTrainer(run).fit(step.name, learner, epochs=config.epochs, ticks=steps)
