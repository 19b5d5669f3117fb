"""Clips for training and evaluation: one item is one video's sampled, decoded and transformed frames.

Every random choice about a video is a function of (seed, epoch, position in the list), never of a worker or
of what was loaded before it, so results do not depend on how many processes load them or in what order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, Dataset, Sampler

from adafocus_rl.data.clips import BadClip, Clip, ClipBatch, collate
from adafocus_rl.data.decode import DecodeError, decode_frames, opencv, probe
from adafocus_rl.data.index import VideoIndex, VideoRecord, read_boxes
from adafocus_rl.data.loader import ClipLoader
from adafocus_rl.data.sampling import clip_indices
from adafocus_rl.data.transforms import TransformConfig, apply_transform, build_transform
from adafocus_rl.errors import UserError
from adafocus_rl.seeding import derive_seed

__all__ = ["BadClip", "Clip", "ClipBatch", "ClipDataset", "ClipLoader", "EpochSampler", "collate", "make_loader"]


class ClipDataset(Dataset[Clip | BadClip]):
    """The clips of an index.

    Args:
        index: the videos.
        num_frames: T, frames per clip, ≥ 1; or several numbers, for as many sets of frames, each spread over the whole
            video, that follow one another in the clip and share its transform.
        transform: how frames become a clip.
        train: random frames and augmentation; False for the middle frames and the centre crop, the same each
            epoch.
        seed: what all random choices derive from, together with epoch and video.
        num_classes: K; None for the index's own number.
        decode_timeout: seconds after which a loader's worker process gives a video up; 0 for never.

    Attributes:
        frame_sets: the numbers of frames, one or several.
        num_frames: all frames of a clip.
        num_steps: decisions in a clip: one per frame, or one for all of several sets.

    Raises:
        UserError: a label of K or more (with its video), T below 1, boxes that cannot be read, or OpenCV
            that cannot be imported.
    """

    def __init__(
        self,
        index: VideoIndex,
        *,
        num_frames: int | Sequence[int],
        transform: TransformConfig,
        train: bool,
        seed: int,
        num_classes: int | None = None,
        decode_timeout: float = 0,
    ) -> None:
        self.frame_sets = (num_frames,) if isinstance(num_frames, int) else tuple(num_frames)
        if min(self.frame_sets) < 1:
            raise UserError(f"num_frames is {num_frames}; expected at least 1 frame per clip")
        self.index = index
        self.num_frames = sum(self.frame_sets)
        self.num_steps = self.num_frames if len(self.frame_sets) == 1 else 1
        self.config = transform
        self.train = train
        self.seed = seed
        self.decode_timeout = decode_timeout
        self.num_classes = index.num_classes if num_classes is None else num_classes
        for record in index:
            if max(record.labels) >= self.num_classes:
                raise UserError(
                    f"{record.path} has the label {max(record.labels)}; expected 0 to {self.num_classes - 1} "
                    f"for {self.num_classes} classes: correct the list, or the number or names of classes"
                )
        # Here, not at the first clip: an absent library is named once and plainly, not from within a worker.
        opencv()
        self._transform = build_transform(transform, train=train)
        self._boxes = read_boxes(index)
        # Tensors, because worker processes that live on across epochs hold a copy of this object: see ``share``.
        self._epoch = torch.zeros((), dtype=torch.int64)
        # Frames of the videos whose number the list does not give; 0 while not counted.
        self._counted = torch.zeros(len(index), dtype=torch.int64)
        self._given_up: dict[int, str] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy of this object (pickled, or deep) reaches its own worker processes as the original does."""
        vars(self).update(state)
        self._epoch.share_memory_()
        self._counted.share_memory_()

    def __len__(self) -> int:
        return len(self.index)

    @property
    def epoch(self) -> int:
        """The epoch that random choices derive from."""
        return int(self._epoch)

    def share(self) -> None:
        """Put what worker processes must see change into shared memory, before they are started.

        Raises:
            RuntimeError: there is no shared memory left.
        """
        self._epoch.share_memory_()
        self._counted.share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, in running worker processes too; call it between two passes over the loader."""
        self._epoch.fill_(epoch)

    def __getitem__(self, i: int) -> Clip | BadClip:
        """The i-th video's clip, or why there is none.

        Raises:
            IndexError: no such position.
        """
        record = self.index[i]
        try:
            if i in self._given_up:
                raise DecodeError(record.path, self._given_up[i])
            return self._load(i, record)
        except DecodeError as error:
            shape = (self.num_frames, self.config.frame_size, self.num_classes)
            return BadClip(row=i, path=record.path, reason=error.reason, shape=shape)

    def give_up(self, i: int, reason: str) -> None:
        """Do not decode the i-th video again: it has no clip, for this reason."""
        self._given_up[i] = reason

    def focus_frames(self, values: Tensor) -> Tensor:
        """What belongs to the frames that f_L looks at, of values (T, …) for all frames: the last set of several."""
        return values[-self.frame_sets[-1] :]

    def _load(self, i: int, record: VideoRecord) -> Clip:
        path = self.index.full_path(i)
        rng = np.random.default_rng(derive_seed(self.seed, "frames", self.epoch, i)) if self.train else None
        count = self._count(i, record, path)
        frames = clip_indices(count, self.frame_sets, rng=rng)
        pixels = torch.from_numpy(decode_frames(path, frames, template=self.index.template)).permute(0, 3, 1, 2)
        self._check_size(path, pixels)
        stored_boxes = torch.from_numpy(self._boxes_at(record, frames))
        with torch.random.fork_rng(devices=[]):
            # Only the CPU's generator: torch.manual_seed would reach for the GPU inside a worker.
            torch.default_generator.manual_seed(derive_seed(self.seed, "transform", self.epoch, i))
            clip, boxes = apply_transform(self._transform, pixels, stored_boxes)
        multi_hot = torch.zeros(self.num_classes)
        multi_hot[list(record.labels)] = 1
        return Clip(
            clip=clip.contiguous(),
            label=torch.tensor(record.labels[0]),
            multi_hot=multi_hot,
            true_boxes=boxes,
            frames=torch.from_numpy(frames),
            row=torch.tensor(i),
        )

    def _count(self, i: int, record: VideoRecord, path: Path) -> int:
        if record.video_frames:
            return record.video_frames
        if not self._counted[i]:
            self._counted[i] = probe(path, template=self.index.template).video_frames
        return int(self._counted[i])

    def _boxes_at(self, record: VideoRecord, frames: NDArray[np.int64]) -> NDArray[np.float32]:
        """(T, 4) boxes on the stored frames; NaN where absent or unknown."""
        boxes = np.full((len(frames), 4), np.nan, dtype=np.float32)
        stored = self._boxes.get(record.path)
        if stored is not None:
            known = frames < len(stored)
            boxes[known] = stored[frames[known]]
        return boxes

    def _check_size(self, path: Path, pixels: Tensor) -> None:
        """A crop larger than the frame would be filled up with black, which is not the video."""
        height, width = pixels.shape[-2:]
        multiscale = self.train and self.config.crop == "multiscale"
        if not multiscale and not self.config.short_side and min(height, width) < self.config.frame_size:
            raise DecodeError(
                path,
                f"frames of {height}×{width} pixels are smaller than frame_size {self.config.frame_size}, "
                "and resizing is switched off (resize_short 0)",
            )


class EpochSampler(Sampler[int]):
    """Positions in the list's order, or in an order that follows from the dataset's seed and epoch."""

    def __init__(self, dataset: ClipDataset, *, shuffle: bool) -> None:
        self.dataset = dataset
        self.shuffle = shuffle

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[int]:
        order = np.arange(len(self.dataset))
        if self.shuffle:
            seed = derive_seed(self.dataset.seed, "order", self.dataset.epoch)
            order = np.random.default_rng(seed).permutation(order)
        return iter(order.tolist())


def make_loader(
    dataset: ClipDataset,
    *,
    batch_size: int | None = None,
    shuffle: bool = False,
    order: Sequence[int] | None = None,
    batches: Sequence[Sequence[int]] | None = None,
    workers: int = 0,
    drop_last: bool = False,
    pin: bool = False,
) -> ClipLoader:
    """A loader of ``ClipBatch``es.

    Call ``dataset.set_epoch`` before each pass: shuffling, frame shifts and augmentation follow it.

    Args:
        dataset: the clips.
        batch_size: videos per batch, ≥ 1; a batch is smaller by the videos that could not be read.
        shuffle: draw a new order each epoch; False for the list's order.
        order: positions in the index to load in this order, instead of ``shuffle``.
        batches: the positions of each batch, instead of ``batch_size``, ``shuffle``, ``order`` and ``drop_last``.
        workers: processes that decode, kept across the passes over this loader; one that a video crashes takes
            only that video with it. 0 decodes in this process.
        drop_last: leave out the last batch when it is smaller.
        pin: put batches into page-locked memory, for copies to a GPU that do not block.

    Raises:
        ValueError: not exactly one of ``batch_size`` and ``batches``, or both ``shuffle`` and ``order``.
    """
    if (batch_size is None) == (batches is None) or (shuffle and order is not None):
        raise ValueError("expected either batch_size or batches, and not both shuffle and order")
    by_batch: Iterable[Sequence[int]]
    if batches is not None:
        by_batch = batches
    else:
        assert batch_size is not None
        by_video = EpochSampler(dataset, shuffle=shuffle) if order is None else order
        by_batch = BatchSampler(by_video, batch_size, drop_last)
    return ClipLoader(dataset, by_batch, workers=workers, pin=pin, seed=derive_seed(dataset.seed, "loader"))
