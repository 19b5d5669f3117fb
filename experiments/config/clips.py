"""From a recipe to the clips of its videos: how many frames, of which size, augmented how."""

from __future__ import annotations

from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.data.index import VideoIndex
from adafocus_rl.data.transforms import TransformConfig
from adafocus_rl.experiments.config.experiment import ExperimentConfig
from adafocus_rl.models.config import clip_frames


def frame_sets(config: ExperimentConfig) -> tuple[int, ...]:
    """How many frames each set of a clip's frames has: (T,), or (T_G, T_L) where f_G and f_L look at sets of their own.

    Each set is spread over the whole video.
    """
    return clip_frames(config.model) or (config.data.num_frames,)


def transform_of(config: ExperimentConfig, *, side: int | None = None) -> TransformConfig:
    """How stored frames become those of a clip.

    Args:
        config: the recipe.
        side: of the clip's square frames in pixels; None for ``model.frame_size``.
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
    """The clips of some videos, as the recipe wants them.

    Args:
        config: the recipe.
        index: the videos.
        train: whether frames are drawn at random and augmented; otherwise they are those of the evaluation.
        side: of the clip's square frames in pixels; None for ``model.frame_size``.
        num_classes: K; None for ``model.num_classes``, which must not be 0 then.

    Raises:
        UserError: a label of K or more, or boxes that cannot be read.
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
