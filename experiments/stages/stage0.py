"""Stage 0: initialise f_G and f_L by classifying whole frames (appendix B.1)."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.experiments.config import Stage0Config, StillsConfig
from adafocus_rl.experiments.context import Context
from adafocus_rl.experiments.optim import nesterov_sgd, set_cosine_rate
from adafocus_rl.experiments.stages.progress import Mean, StageProgress
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.seeding import seed_all


def train_encoders(context: Context, recognizer: Recognizer) -> float:
    """Trains f_G (at the glance size) and f_L (at the frame size) side by side, each with a linear head.

    Encoders without published weights see close-ups first, if the data has them: what ImageNet is to the others. The
    heads are thrown away.

    Args:
        context: the run.
        recognizer: f_G and f_L are changed in place; f_C is left alone.

    Returns:
        Seconds of training.
    """
    config = context.config.stage0
    classes = recognizer.config.num_classes
    seed_all(context.config.seed, "heads")
    heads = nn.ModuleDict(
        {
            "glance": nn.Linear(recognizer.glance.vector_dim, classes),
            "focus": nn.Linear(recognizer.focus.vector_dim, classes),
        }
    ).to(context.device)
    modules = {"recognizer": recognizer, "heads": heads}
    seconds = 0.0
    if context.stills is not None:
        # When stage 0 resumes, this finds all of its epochs done and only loads what came of them.
        seconds += _classify(context, modules, context.stills, "stage0.stills", config.stills)
    seconds += _classify(context, modules, context.train, "stage0", config)
    recognizer.eval()
    return seconds


def _classify(
    context: Context,
    modules: Mapping[str, nn.Module],
    dataset: ClipDataset,
    stage: str,
    config: Stage0Config | StillsConfig,
) -> float:
    """Both encoders on one dataset, by cross-entropy.

    A clip is classified by the mean of its frames' logits, since its class shows in some frame; a still by its own,
    since its class shows in every one.
    """
    recognizer, heads = modules["recognizer"], modules["heads"]
    assert isinstance(recognizer, Recognizer)
    assert isinstance(heads, nn.ModuleDict)
    sgd, epochs, rate = config.sgd, config.epochs, config.learning_rate
    of_frames = isinstance(config, StillsConfig)
    encoders = nn.ModuleList([recognizer.glance, recognizer.focus])
    optimizer = nesterov_sgd([(encoders, rate), (heads, rate)], sgd)
    progress = StageProgress(context, stage, modules=modules, optimizer=optimizer)
    batches = context.passes(dataset, sgd.batch_size)
    steps = -(-len(dataset) // sgd.batch_size)

    def logits(batch: ClipBatch) -> tuple[Tensor, Tensor, Tensor]:
        clips = recognizer.prepare(batch.clips)
        frames, count = clips.flatten(0, 1), clips.shape[1]
        glance = heads["glance"](recognizer.glance_features(frames)[1])
        focus = heads["focus"](recognizer.full_features(frames))
        if of_frames:
            return glance, focus, batch.labels.repeat_interleave(count)
        return glance.unflatten(0, (-1, count)).mean(1), focus.unflatten(0, (-1, count)).mean(1), batch.labels

    for epoch, ticker in progress.epochs(epochs, steps):
        recognizer.train()
        mean = Mean()
        for step, clips in enumerate(batches(epoch)):
            set_cosine_rate(optimizer, epoch * steps + step, epochs * steps)
            batch = clips.to(context.device, non_blocking=True)
            glance, focus, labels = logits(batch)
            glance_loss, focus_loss = F.cross_entropy(glance, labels), F.cross_entropy(focus, labels)
            optimizer.zero_grad(set_to_none=True)
            (glance_loss + focus_loss).backward()
            optimizer.step()
            mean.add(
                len(batch),
                glance_loss=glance_loss,
                focus_loss=focus_loss,
                glance_top1=(glance.argmax(-1) == labels).float().mean(),
                focus_top1=(focus.argmax(-1) == labels).float().mean(),
            )
            ticker.advance()
        scalars = mean.values()
        ticker.advance(0, f"loss f_G {scalars['glance_loss']:.3f} f_L {scalars['focus_loss']:.3f}")
        progress.end_epoch(epoch, {f"train/{name}": value for name, value in scalars.items()})
    return progress.seconds
