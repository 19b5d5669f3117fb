"""Stage I: train f_L and f_C on random patches (AdaFocus, section 3.3; appendix B.1)."""

from __future__ import annotations

import torch

from adafocus_rl.experiments.context import Context
from adafocus_rl.experiments.optim import nesterov_sgd, set_cosine_rate
from adafocus_rl.experiments.stages.progress import Mean, StageProgress
from adafocus_rl.models.classifiers import sequence_loss
from adafocus_rl.models.recognizer import Recognizer


def train_on_random_patches(context: Context, recognizer: Recognizer) -> float:
    """One uniformly random patch per frame, at any pixel offset; cross-entropy after every step.

    f_G is frozen and in evaluation mode: training it too "does not significantly improve the performance".

    Args:
        context: the run.
        recognizer: f_L and f_C are changed in place.

    Returns:
        Seconds of training.
    """
    config = context.config.stage1
    optimizer = nesterov_sgd(
        [
            (recognizer.focus, config.focus_learning_rate),
            (recognizer.classifier, config.classifier_learning_rate),
        ],
        config.sgd,
    )
    progress = StageProgress(context, "stage1", modules={"recognizer": recognizer}, optimizer=optimizer)
    batches = context.passes(context.train, config.sgd.batch_size)
    steps = -(-len(context.train) // config.sgd.batch_size)
    with recognizer.freeze("glance"):
        for epoch, ticker in progress.epochs(config.epochs, steps):
            recognizer.train()
            mean = Mean()
            for step, clips in enumerate(batches(epoch)):
                set_cosine_rate(optimizer, epoch * steps + step, config.epochs * steps)
                batch = clips.to(context.device, non_blocking=True)
                frames = recognizer.prepare(batch.clips).flatten(0, 1)
                with torch.no_grad():
                    _, glance = recognizer.glance_features(frames)
                origin = recognizer.grid.uniform_origin(torch.rand(len(frames), 2, device=context.device))
                focus = recognizer.focus_features(recognizer.grid.crop(frames, origin))
                logits = recognizer.classifier(torch.cat((glance, focus), dim=-1).unflatten(0, batch.clips.shape[:2]))
                loss = sequence_loss(logits, batch.labels)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                mean.add(len(batch), loss=loss, top1=(logits[:, -1].argmax(-1) == batch.labels).float().mean())
                ticker.advance()
            scalars = mean.values()
            ticker.advance(0, f"loss {scalars['loss']:.3f} top-1 {scalars['top1']:.3f}")
            progress.end_epoch(epoch, {f"train/{name}": value for name, value in scalars.items()})
    recognizer.eval()
    return progress.seconds
