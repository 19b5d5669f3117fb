"""The part that each rank of a job has of every training batch."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from adafocus_rl import ranks
from adafocus_rl.errors import UserError
from adafocus_rl.features.source import EpisodeFeatures, FeatureSource, shared_batches


def own_parts(source: FeatureSource, batch_size: int, *, epoch: int | None = None) -> Iterator[EpisodeFeatures]:
    """Yield this rank's part of each batch of a pass, with its ``share``; in one process, the batches.

    If the part is empty, another video stands in for it, with a share of 0, because all ranks must take part in what
    they compute together. All ranks yield equally many parts.

    Args:
        source: features of the videos.
        batch_size: number of videos per batch, over all ranks.
        epoch: number of the pass; None for index order.
    """
    if ranks.world() == 1:
        yield from source.batches(batch_size, epoch=epoch)
        return
    usable = source.videos[:0]
    for episodes in shared_batches(source, batch_size, epoch=epoch, share="videos"):
        counts = episodes.counts or ranks.counts(len(episodes))
        if not any(counts):  # none of the batch's videos can be decoded
            continue
        if len(episodes):
            usable = episodes.videos[:1].cpu()
        else:
            episodes = _stand_in(source, usable, epoch)
        yield episodes.as_part(counts)


def _stand_in(source: FeatureSource, usable: Tensor, epoch: int | None) -> EpisodeFeatures:
    """Return one video, the first of some that can be decoded."""
    error: UserError | None = None
    for video in (*usable, *source.videos):
        try:
            return source.episodes(video[None], epoch=epoch or 0)
        except UserError as found:
            error = found
    raise error or UserError("none of the videos can be decoded")
