"""Stage 0: initialise f_G and f_L by classifying whole frames (appendix B.1)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from adafocus_rl.data.dataset import ClipBatch
from adafocus_rl.experiments.context import Context
from adafocus_rl.experiments.optim import nesterov_sgd, set_cosine_rate
from adafocus_rl.experiments.stages.progress import Mean, StageProgress
from adafocus_rl.models.recognizer import Recognizer


def train_encoders(context: Context, recognizer: Recognizer) -> float:
    """Trains f_G (at the glance size) and f_L (at the frame size) side by side, each with a linear head.

    The prediction for a clip is the mean of its frames' logits; the loss is cross-entropy. The heads are thrown away.

    Args:
        context: the run.
        recognizer: changed in place; f_C is left alone.

    Returns:
        Seconds of training.
    """
    config = context.config.stage0
    classes = recognizer.config.num_classes
    heads = nn.ModuleDict(
        {
            "glance": nn.Linear(recognizer.glance.vector_dim, classes),
            "focus": nn.Linear(recognizer.focus.vector_dim, classes),
        }
    ).to(context.device)
    encoders = nn.ModuleList([recognizer.glance, recognizer.focus])
    optimizer = nesterov_sgd([(encoders, config.learning_rate), (heads, config.learning_rate)], config.sgd)
    progress = StageProgress(
        context,
        "stage0",
        modules={"recognizer": recognizer, "heads": heads},
        optimizer=optimizer,
        signature=recognizer.signature(),
    )
    steps = -(-len(context.train) // config.sgd.batch_size)

    def logits(batch: ClipBatch) -> tuple[Tensor, Tensor, Tensor]:
        clips = recognizer.prepare(batch.clips.to(context.device, non_blocking=True))
        frames = clips.flatten(0, 1)
        glance = heads["glance"](recognizer.glance_features(frames)[1])
        focus = heads["focus"](recognizer.full_features(frames))
        shape = clips.shape[:2]
        return glance.unflatten(0, shape).mean(1), focus.unflatten(0, shape).mean(1), batch.labels.to(context.device)

    for epoch, ticker in progress.epochs(config.epochs, steps):
        recognizer.train()
        mean = Mean()
        batches = context.batches(context.train, batch_size=config.sgd.batch_size, epoch=epoch)
        for step, batch in enumerate(batches):
            ticker.advance()
            set_cosine_rate(optimizer, epoch * steps + step, config.epochs * steps)
            glance, focus, labels = logits(batch)
            glance_loss, focus_loss = F.cross_entropy(glance, labels), F.cross_entropy(focus, labels)
            optimizer.zero_grad(set_to_none=True)
            (glance_loss + focus_loss).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            mean.add(
                len(labels),
                glance_loss=glance_loss,
                focus_loss=focus_loss,
                glance_top1=(glance.argmax(-1) == labels).float().mean(),
                focus_top1=(focus.argmax(-1) == labels).float().mean(),
            )
        scalars = mean.values()
        ticker.advance(0, f"loss f_G {scalars['glance_loss']:.3f} f_L {scalars['focus_loss']:.3f}")
        progress.end_epoch(epoch, {f"train/{name}": value for name, value in scalars.items()})
    recognizer.eval()
    progress.finish()
    return progress.seconds
