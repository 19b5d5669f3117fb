"""Interface of frozen features: a batch of episodes, and a source of such batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from adafocus_rl import ranks
from adafocus_rl.errors import UserError
from adafocus_rl.features.specs import FULL, GLANCE_VECTORS, TableSpec
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.seeding import derive_seed

Share = Literal["videos", "batches"]
"""What a rank gets of the batches of all ranks: ``videos`` is a part of each batch, which may be empty, and ``batches``
is some batches as they are."""

EpisodesT = TypeVar("EpisodesT", bound="EpisodeFeatures")


class EpisodeFeatures(ABC):
    """Frozen features of B videos of T steps each, float32 on one device.

    A step is a frame, unless the encoders process the whole clip together; then the clip is one step
    (``clip_frames``).

    Attributes:
        videos: (B,) int64, row of each video in its index.
        labels: (B,) int64, the first true class.
        multi_hot: (B, K) float32, all true classes.
        true_boxes: (B, T, 4) float32 (top, left, height, width) in frame pixels; NaN where unknown or absent.
        global_map: (B, T, C, h, w), e^G before pooling.
        global_vector: (B, T, D_G), e^G pooled.
        motion: (B, T, m, m) absolute difference to the previous frame, zeros in the first (``frame_differences``); None
            if the source has no pictures.
        counts: number of videos that each rank has of the batch that these are a part of (``own_parts``); None if they
            are no such part, or if the ranks have yet to ask each other how many videos they could decode.
    """

    videos: Tensor
    labels: Tensor
    multi_hot: Tensor
    true_boxes: Tensor
    global_map: Tensor
    global_vector: Tensor
    motion: Tensor | None = None
    counts: Sequence[int] | None = None

    @property
    def share(self) -> float:
        """Share of a batch of all ranks that these videos are, 1 in one process; 0 if they stand in for an empty part.

        The mean loss over the batch is the sum of the ranks' mean losses, each multiplied by its share. Videos that are
        not a part of such a batch (``own_parts``) count as much as those of any other rank.
        """
        return 1 / ranks.world() if self.counts is None else self.counts[ranks.rank()] / sum(self.counts)

    def as_part(self: EpisodesT, counts: Sequence[int] | None) -> EpisodesT:
        """Set the counts, and return the episodes."""
        self.counts = counts
        return self

    def join(self, values: Tensor) -> Tensor:
        """Return the values of a batch of all ranks, in order, given those of these videos.

        Args:
            values: (k · n, …), k values of each of these n videos; k is the same on all ranks.
        """
        each = len(values) // max(1, len(self))
        lengths = None if self.counts is None else [each * count for count in self.counts]
        return ranks.join(values if self.share else values[:0], lengths)

    def __len__(self) -> int:
        return len(self.videos)

    @property
    def num_steps(self) -> int:
        """T."""
        return self.global_vector.shape[1]

    @abstractmethod
    def local_at(self, step: Tensor, action: Tensor) -> Tensor:
        """Return f_L's features of patches, each in its own frame.

        Args:
            step: (B, M) int64, the frame of each patch.
            action: (B, M) or (B, M, K) int64 grid actions.

        Returns:
            (B, M, D_L) or (B, M, K, D_L) float32.
        """

    def local(self, action: Tensor) -> Tensor:
        """Return f_L's features (B, T[, K], D_L) of patches in every frame for actions (B, T[, K])."""
        steps = torch.arange(self.num_steps, device=action.device).expand(len(self), -1)
        return self.local_at(steps, action)

    def local_at_position(self, step: Tensor, position: Tensor) -> Tensor:
        """Return f_L's features of patches anywhere, each in its own frame; only for sources with ``any_position``.

        Args:
            step: (B, M) int64, the frame of each patch.
            position: (B, M, 2) or (B, M, K, 2), relative (row, column) in [0, 1]²; the patch is cut at
                floor(position · (S − P)).

        Returns:
            (B, M, D_L) or (B, M, K, D_L) float32.

        Raises:
            UserError: these features hold the patches of a grid only.
        """
        raise UserError(
            f"{type(self).__name__} holds the patches of the grid only; use live features for positions between them"
        )

    def kept_local_at(self, step: Tensor, patch: Tensor, keep: Tensor) -> Tensor:
        """Return f_L's features of the patches to keep, and zeros for the others, on which f_L is not run.

        Args:
            step: (B, M) int64, the frame of each patch.
            patch: (B, M) int64 grid actions, or (B, M, 2) float32 positions (``local_at_position``).
            keep: (B, M) bool.

        Returns:
            (B, M, D_L) float32.
        """
        local = self.local_at_position if patch.is_floating_point() else self.local_at
        return torch.where(keep[..., None], local(step, patch), 0.0)

    @abstractmethod
    def full(self) -> Tensor:
        """Return f_L's features of the whole frames, (B, T, D_L) float32."""

    def table(self, table: TableSpec) -> Tensor:
        """Return a declared table's rows of every frame, (B, T, …) float32.

        Args:
            table: the table; a source that reads tables must have been opened with it.

        Raises:
            UserError: these features have no such table.
        """
        if table is FULL:
            return self.full()
        if table is GLANCE_VECTORS:
            return self.global_vector
        raise UserError(f"{type(self).__name__} has no table {table.name!r}; use a feature bank or live features")

    def table_at(self, table: TableSpec, step: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return a declared table's rows of some frames, and zeros where nothing has to be computed.

        Args:
            table: the table; a source that reads tables must have been opened with it.
            step: (B, M) int64, frames.
            keep: (B, M) bool, the frames whose rows are wanted; None for all. No network runs on the others.

        Returns:
            (B, M, …) float32.

        Raises:
            UserError: these features have no such table.
        """
        rows = self.table(table)[torch.arange(len(self), device=step.device)[:, None], step]
        return rows if keep is None else torch.where(broadcast(keep, rows), rows, 0.0)

    def clone(self) -> EpisodeFeatures:
        """Return a copy of the episodes with its own tensors.

        This method and ``overwrite`` require that every tensor attribute has one row per video. Attributes that are
        neither tensors nor episodes are shared.
        """
        other = object.__new__(type(self))
        own = (Tensor, EpisodeFeatures)
        vars(other).update({name: v.clone() if isinstance(v, own) else v for name, v in vars(self).items()})
        return other

    def overwrite(self, rows: Tensor, other: EpisodeFeatures) -> None:
        """Replace some of these videos by those of ``other``, in place.

        Args:
            rows: (R,) int64 on the device, the rows of the videos to replace, in [0, B).
            other: R videos of the same source.
        """
        for name, value in vars(self).items():
            if isinstance(value, EpisodeFeatures):
                value.overwrite(rows, getattr(other, name))
            elif isinstance(value, Tensor):
                value.index_copy_(0, rows, getattr(other, name))


def broadcast(keep: Tensor, rows: Tensor) -> Tensor:
    """Return (B, M) values as (B, M, 1, …), to broadcast with rows (B, M, …)."""
    return keep.view(*keep.shape, *(1 for _ in rows.shape[keep.ndim :]))


@runtime_checkable
class FeatureSource(Protocol):
    """Frozen features of a set of videos.

    ``LiveFeatures`` runs the encoders, and ``FeatureBank`` reads tables. With the same weights, clips and seed, they
    yield the same batches in the same order, within the precision of fp16.
    """

    grid: PatchGrid
    num_steps: int
    num_classes: int
    map_shape: tuple[int, int, int]
    vector_dim: int
    local_dim: int
    device: torch.device
    has_boxes: bool
    """Whether any frame of any video has a true box."""
    any_position: bool
    """Whether f_L's features are available at any position, and not only on the grid."""
    failed: list[tuple[str, str]]
    """(path, reason) of each video found undecodable so far."""

    @property
    def videos(self) -> Tensor:
        """(N,) int64 on CPU, the usable index rows; those known to be undecodable are left out."""
        ...

    def episodes(self, videos: Tensor, *, epoch: int = 0) -> EpisodeFeatures:
        """Return the features of the given index rows (B,); ``epoch`` selects the augmentation, if the source has any.

        Raises:
            UserError: one of the videos cannot be decoded.
        """
        ...

    def batches(
        self, batch_size: int, *, epoch: int | None = None, share: Share | None = None
    ) -> Iterator[EpisodeFeatures]:
        """Yield all usable videos once, in index order, or shuffled by the source's seed and the epoch if given.

        Args:
            batch_size: videos per batch; the last batch may be smaller.
            epoch: number of the pass.
            share: what this rank gets of the batches in a job of several ranks; None for all.
        """
        ...


def shared_batches(
    source: FeatureSource, batch_size: int, *, share: Share, epoch: int | None = None
) -> Iterator[EpisodeFeatures]:
    """Return ``source.batches`` with this rank's share; a source that knows no ranks suffices for one rank."""
    if ranks.world() == 1:
        return source.batches(batch_size, epoch=epoch)
    return source.batches(batch_size, epoch=epoch, share=share)


def own_share(batches: Iterable[Tensor], share: Share | None) -> list[Tensor]:
    """Return what this rank gets of batches of rows (B,); see ``Share``. None leaves them as they are."""
    whole = list(batches)
    if share == "videos":
        return [videos[ranks.own_part(len(videos))] for videos in whole]
    return whole[ranks.rank() :: ranks.world()] if share == "batches" else whole


def video_order(videos: Tensor, *, seed: int, epoch: int | None) -> Tensor:
    """Return the rows in index order (epoch None) or in the order of this seed and epoch; (N,) int64 on CPU."""
    if epoch is None:
        return videos
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return videos[torch.randperm(len(videos), generator=generator)]
