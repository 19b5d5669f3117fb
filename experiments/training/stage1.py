"""Stage I: train f_L and f_C on random patches (AdaFocus, section 3.3; appendix B.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from adafocus_rl.agents.supervised import SupervisedLearner, autocast
from adafocus_rl.agents.training_options import PrecisionConfig
from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.steps import RANDOM_PATCHES
from adafocus_rl.experiments.training.trainer import RunTrainer
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.models.classifiers import sequence_loss
from adafocus_rl.models.recognizer import Part, Recognizer
from adafocus_rl.seeding import derive_seed, hash_randint, hash_uniform


@dataclass(frozen=True, kw_only=True)
class PatchBatch:
    """B clips, and the origins of their patches."""

    clips: ClipBatch
    """Clips (B, F, 3, S, S) and labels."""

    origin: Tensor
    """(B, T, 2) crop origins, int64."""

    scale: Tensor | None = None
    """(B, T) int64, scales of the patches; None if there is one."""

    kept: Tensor
    """(B, T) bool, frames in which f_C receives f_L's features; in the others it receives zeros."""

    @property
    def rows(self) -> Tensor:
        """(B,) rows of the index."""
        return self.clips.rows

    def __len__(self) -> int:
        return len(self.clips)


def random_scales(grid: PatchGrid, rows: Tensor, steps: int, *, seed: int) -> Tensor | None:
    """Return the scale of each step's patch (B, T) int64, all equally likely; None if the grid has one.

    Arguments and seed are as in ``random_origins``.
    """
    if len(grid.scales) == 1:
        return None
    step = torch.arange(steps, device=rows.device)
    return hash_randint(len(grid.scales), derive_seed(seed, "scales"), rows[:, None], step)


def random_origins(grid: PatchGrid, rows: Tensor, steps: int, *, seed: int, scale: Tensor | None = None) -> Tensor:
    """Return the origin of each step's patch, a function of (seed, video, step) that no batch size changes.

    Args:
        grid: sizes of the patch and the frame.
        rows: (B,) rows of the index.
        steps: T.
        seed: seed of the epoch.
        scale: (B, T) int64, scales of the patches; None if there is one.

    Returns:
        (B, T, 2) crop origins, int64, at any pixel.
    """
    step, axis = torch.arange(steps, device=rows.device)[:, None], torch.arange(2, device=rows.device)
    return grid.uniform_origin(hash_uniform(seed, rows[:, None, None], step, axis), scale)


def kept_frames(rows: Tensor, steps: int, dropped: float, *, seed: int) -> Tensor:
    """Return the frames that are not dropped, each a function of (seed, video, step) that no batch size changes.

    Args:
        rows: (B,) rows of the index.
        steps: T.
        dropped: probability of dropping a frame.
        seed: seed of the epoch.

    Returns:
        (B, T) bool.
    """
    return hash_uniform(seed, rows[:, None], torch.arange(steps, device=rows.device)) >= dropped


def random_patch_loss(
    recognizer: Recognizer, compute: PrecisionConfig, batch: PatchBatch, part: slice
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return stage I's loss on some videos of a minibatch.

    Args:
        recognizer: the recognizer, with f_G frozen.
        compute: provides the precision.
        batch: the minibatch.
        part: the videos to use.

    Returns:
        The loss, and scalars to log.
    """
    labels = batch.clips.labels[part]
    with autocast(compute, labels.device):
        clips = recognizer.prepare(batch.clips.clips[part])
        with torch.no_grad():
            _, glance = recognizer.glance_steps(clips)
        scale = None if batch.scale is None else batch.scale[part].flatten()
        steps = recognizer.focus_steps(clips).flatten(0, 1)
        focus = recognizer.focus_at(steps, batch.origin[part].flatten(0, 1), scale)
    local = torch.where(batch.kept[part, :, None], focus.unflatten(0, glance.shape[:2]), 0.0)
    logits = recognizer.classifier(torch.cat((glance, local), dim=-1).float())
    loss = sequence_loss(logits, labels)
    return loss, {"loss": loss, "top1": (logits[:, -1].argmax(-1) == labels).float().mean()}


def train_on_random_patches(run: Run, recognizer: Recognizer) -> float:
    """Train f_L and f_C on one uniformly random patch per step, at any pixel, with cross-entropy after every step.

    With several scales, each is as likely.

    A step is a frame, or the whole clip for encoders that process its frames together.

    With ``stage1.drop_frames``, f_C receives zeros instead of f_L's features in frames dropped at random, as it does in
    frames that π′ skips.

    f_G is frozen and in evaluation mode: training it too "does not significantly improve the performance". So is f_L if
    its learning rate is 0: nothing in it changes then, including batch statistics.

    Args:
        run: the run.
        recognizer: f_L and f_C are changed in place.

    Returns:
        Seconds of training.
    """
    config, clips = run.config.stage1, run.clips.train
    recognizer.glance.recompute = recognizer.focus.recompute = config.compute.recompute
    passes = run.clips.passes(clips, config.sgd.batch_size)

    def batches(epoch: int) -> Iterator[PatchBatch | None]:
        seed = derive_seed(run.config.seed, "random patches", epoch)
        drop_seed = derive_seed(run.config.seed, "dropped frames", epoch)
        for batch in passes(epoch):
            if batch is None:
                yield None
                continue
            there = batch.to(run.device, non_blocking=True)
            frames = recognizer.num_steps(there.clips.shape[1])
            scale = random_scales(recognizer.grid, there.rows, frames, seed=seed)
            yield PatchBatch(
                clips=there,
                origin=random_origins(recognizer.grid, there.rows, frames, seed=seed, scale=scale),
                scale=scale,
                kept=kept_frames(there.rows, frames, config.drop_frames, seed=drop_seed),
            )

    steps = -(-len(clips) // config.sgd.batch_size)
    learner = SupervisedLearner(
        {"recognizer": recognizer},
        [(recognizer.focus, config.focus_learning_rate), (recognizer.classifier, config.classifier_learning_rate)],
        batches,
        partial(random_patch_loss, recognizer, config.compute),
        sgd=config.sgd,
        steps=steps,
        epochs=config.epochs,
        device=run.device,
        compute=config.compute,
    )
    frozen: tuple[Part, ...] = ("glance",) if config.focus_learning_rate else ("glance", "focus")
    with recognizer.freeze(*frozen):
        seconds = RunTrainer(run).fit(RANDOM_PATCHES.name, learner, epochs=config.epochs, ticks=steps)
    recognizer.eval()
    return seconds
