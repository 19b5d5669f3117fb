"""Clip datasets from a recipe: number and size of frames, and augmentation."""

from __future__ import annotations

from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.data.index import VideoIndex
from adafocus_rl.data.transform_options import TransformConfig
from adafocus_rl.experiments.config.experiment import ExperimentConfig
from adafocus_rl.models.config import clip_frames


def frame_sets(config: ExperimentConfig) -> tuple[int, ...]:
    """Return the number of frames of each set in a clip: (T,), or (T_G, T_L) if f_G and f_L process separate sets.

    Each set is spread over the whole video.
    """
    return clip_frames(config.model) or (config.data.num_frames,)


def transform_of(config: ExperimentConfig, *, side: int | None = None) -> TransformConfig:
    """Return the transforms from stored frames to those of a clip.

    Args:
        config: the recipe.
        side: side of the clip's square frames in pixels; None uses ``model.frame_size``.
    """
    data = config.data
    return TransformConfig(
        frame_size=config.model.frame_size if side is None else side,
        resize_short=data.resize_short,
        crop=data.crop,
        flip=data.flip,
    )


def clips_of(
    config: ExperimentConfig,
    index: VideoIndex,
    *,
    train: bool,
    side: int | None = None,
    num_classes: int | None = None,
) -> ClipDataset:
    """Return the clips of the videos of an index, as the recipe configures them.

    Args:
        config: the recipe.
        index: the videos.
        train: whether frames are sampled at random and augmented; otherwise the evaluation's sampling and transforms
            apply.
        side: side of the clip's square frames in pixels; None uses ``model.frame_size``.
        num_classes: K; None uses ``model.num_classes``, which must then not be 0.

    Raises:
        UserError: if a label is K or more, or boxes cannot be read.
    """
    return ClipDataset(
        index,
        num_frames=frame_sets(config),
        transform=transform_of(config, side=side),
        train=train,
        seed=config.seed,
        num_classes=config.model.num_classes if num_classes is None else num_classes,
        decode_timeout=config.data.decode_timeout,
    )
