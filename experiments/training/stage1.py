"""Stage I: train f_L and f_C on random patches (AdaFocus, section 3.3; appendix B.1)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.training.optim import set_rate, sgd_optimizer
from adafocus_rl.experiments.training.progress import Mean, StageProgress
from adafocus_rl.experiments.training.update import Update
from adafocus_rl.models.classifiers import sequence_loss
from adafocus_rl.models.recognizer import Part, Recognizer


def random_patch_loss(
    recognizer: Recognizer, update: Update, batch: ClipBatch, origin: Tensor, rows: slice
) -> tuple[Tensor, dict[str, Tensor]]:
    """Stage I's loss on some videos of a minibatch.

    Args:
        recognizer: f_G frozen.
        update: for its precision.
        batch: clips (B, F, 3, S, S) and labels.
        origin: (B, T, 2) crop origins.
        rows: which videos.

    Returns:
        The loss, and scalars to take down.
    """
    labels = batch.labels[rows]
    with update.autocast():
        clips = recognizer.prepare(batch.clips[rows])
        with torch.no_grad():
            _, glance = recognizer.glance_steps(clips)
        focus = recognizer.focus_at(recognizer.focus_steps(clips).flatten(0, 1), origin[rows].flatten(0, 1))
    logits = recognizer.classifier(torch.cat((glance, focus.unflatten(0, glance.shape[:2])), dim=-1).float())
    loss = sequence_loss(logits, labels)
    return loss, {"loss": loss, "top1": (logits[:, -1].argmax(-1) == labels).float().mean()}


def train_on_random_patches(run: Run, recognizer: Recognizer) -> float:
    """One uniformly random patch per step, at any pixel offset; cross-entropy after every step.

    A step is a frame, or the whole clip for encoders that look at its frames together.

    f_G is frozen and in evaluation mode: training it too "does not significantly improve the performance". So is f_L
    where its learning rate is 0: nothing of it changes then, batch statistics included.

    Args:
        run: the run.
        recognizer: f_L and f_C are changed in place.

    Returns:
        Seconds of training.
    """
    config = run.config.stage1
    optimizer = sgd_optimizer(
        [
            (recognizer.focus, config.focus_learning_rate),
            (recognizer.classifier, config.classifier_learning_rate),
        ],
        config.sgd,
    )
    update = Update(optimizer, config.sgd, config.compute, recognizer, device=run.device)
    modules = {"recognizer": recognizer}
    progress = StageProgress(run, "stage1", modules=modules, optimizer=optimizer, scaler=update.scaler)
    batches = run.clips.passes(run.clips.train, config.sgd.batch_size)
    steps = -(-len(run.clips.train) // config.sgd.batch_size)
    frozen: tuple[Part, ...] = ("glance",) if config.focus_learning_rate else ("glance", "focus")
    with recognizer.freeze(*frozen):
        for epoch, ticker in progress.epochs(config.epochs, steps):
            recognizer.train()
            mean = Mean()
            for step, clips in enumerate(batches(epoch)):
                set_rate(optimizer, config.sgd, epoch * steps + step, steps=steps, epochs=config.epochs)
                batch = clips.to(run.device, non_blocking=True)
                # For the whole minibatch, so that it does not matter in how many parts it is computed.
                where = torch.rand(len(batch), recognizer.num_steps(batch.clips.shape[1]), 2, device=run.device)
                origin = recognizer.grid.uniform_origin(where)
                update(len(batch), partial(random_patch_loss, recognizer, update, batch, origin), mean)
                ticker.advance()
            scalars = mean.values()
            ticker.advance(0, f"loss {scalars['loss']:.3f} top-1 {scalars['top1']:.3f}")
            progress.end_epoch(epoch, {f"train/{name}": value for name, value in scalars.items()})
    recognizer.eval()
    return progress.seconds
