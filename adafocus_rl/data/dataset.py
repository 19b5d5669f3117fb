"""Clips for training and evaluation: one item holds the sampled, decoded and transformed frames of one video.

Every random choice about a video is a function of (seed, epoch, row in the list), so clips do not depend on the number
of worker processes or on the order of loading.
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

from adafocus_rl import ranks
from adafocus_rl.data.clips import BadClip, Clip, ClipBatch, collate
from adafocus_rl.data.decode import DecodeError, decode_frames, opencv, probe
from adafocus_rl.data.index import VideoIndex, VideoRecord, read_boxes
from adafocus_rl.data.loader import ClipLoader
from adafocus_rl.data.sampling import clip_indices
from adafocus_rl.data.transform_options import TransformConfig
from adafocus_rl.errors import UserError
from adafocus_rl.seeding import derive_seed

__all__ = ["BadClip", "Clip", "ClipBatch", "ClipDataset", "ClipLoader", "EpochSampler", "collate", "make_loader"]


class ClipDataset(Dataset[Clip | BadClip]):
    """The clips of an index.

    Args:
        index: the videos.
        num_frames: T, frames per clip, ≥ 1; or one number for each of several sets of frames. Each set is spread over
            the whole video; the sets follow one another in the clip and share its transform.
        transform: configuration of the transform from stored frames to a clip.
        train: sample random frames and augment them; False takes the middle frames and the centre crop in every epoch.
        seed: seed of all random choices, together with epoch and video.
        num_classes: K; None for the number of classes of the index.
        decode_timeout: seconds after which a worker process gives up on a video; 0 for no limit.

    Attributes:
        frame_sets: number of frames of each set.
        num_frames: number of frames of a clip, over all sets.
        num_steps: decisions per clip: one per frame, or one for the whole clip if it has several sets.

    Raises:
        UserError: a label is K or more (the message names the video), T is below 1, the true boxes cannot be read, or
            OpenCV cannot be imported.
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
        # Imported here and not at the first clip, so that a missing library is reported once and not by a worker; not
        # above, because torchvision loads slowly and environments on a bank do not need it.
        opencv()
        from adafocus_rl.data.transforms import build_transform

        self._transform = build_transform(transform, train=train)
        self._boxes = read_boxes(index)
        # Tensors because persistent worker processes hold a copy of this object; see ``share``.
        self._epoch = torch.zeros((), dtype=torch.int64)
        # Counted lengths of the videos for which the list gives none; 0 before they are counted.
        self._counted = torch.zeros(len(index), dtype=torch.int64)
        self._given_up: dict[int, str] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or deep copy, and share its tensors with its own worker processes."""
        vars(self).update(state)
        self._epoch.share_memory_()
        self._counted.share_memory_()

    def __len__(self) -> int:
        return len(self.index)

    @property
    def epoch(self) -> int:
        """The epoch from which random choices derive."""
        return int(self._epoch)

    def share(self) -> None:
        """Move the state that worker processes must see into shared memory; call it before they start.

        Raises:
            RuntimeError: there is no shared memory left.
        """
        self._epoch.share_memory_()
        self._counted.share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, also in running worker processes; call it between two passes over the loader."""
        self._epoch.fill_(epoch)

    def __getitem__(self, i: int) -> Clip | BadClip:
        """Return the i-th video's clip, or the reason why there is none.

        Raises:
            IndexError: ``i`` is out of range.
        """
        ranks.beat()  # in a process that decodes for itself, a batch may take long
        record = self.index[i]
        try:
            if i in self._given_up:
                raise DecodeError(record.path, self._given_up[i])
            return self._load(i, record)
        except DecodeError as error:
            shape = (self.num_frames, self.config.frame_size, self.num_classes)
            return BadClip(row=i, path=record.path, reason=error.reason, shape=shape)

    def give_up(self, i: int, reason: str) -> None:
        """Mark the i-th video as unreadable for this reason; it is not decoded again."""
        self._given_up[i] = reason

    def focus_frames(self, values: Tensor) -> Tensor:
        """Select the values of the frames that f_L encodes from values (T, …) of all frames: those of the last set."""
        return values[-self.frame_sets[-1] :]

    def _load(self, i: int, record: VideoRecord) -> Clip:
        from adafocus_rl.data.transforms import apply_transform

        path = self.index.full_path(i)
        rng = np.random.default_rng(derive_seed(self.seed, "frames", self.epoch, i)) if self.train else None
        count = self._count(i, record, path)
        frames = clip_indices(count, self.frame_sets, rng=rng)
        pixels = torch.from_numpy(decode_frames(path, frames, template=self.index.template)).permute(0, 3, 1, 2)
        self._check_size(path, pixels)
        stored_boxes = torch.from_numpy(self._boxes_at(record, frames))
        with torch.random.fork_rng(devices=[]):
            # Only the CPU generator: torch.manual_seed would initialise the GPU inside a worker.
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
            size=(pixels.shape[-2], pixels.shape[-1]),
        )

    def _count(self, i: int, record: VideoRecord, path: Path) -> int:
        if record.video_frames:
            return record.video_frames
        if not self._counted[i]:
            self._counted[i] = probe(path, template=self.index.template).video_frames
        return int(self._counted[i])

    def _boxes_at(self, record: VideoRecord, frames: NDArray[np.int64]) -> NDArray[np.float32]:
        """True boxes (T, 4) in stored frames; NaN where absent or unknown."""
        boxes = np.full((len(frames), 4), np.nan, dtype=np.float32)
        stored = self._boxes.get(record.path)
        if stored is not None:
            known = frames < len(stored)
            boxes[known] = stored[frames[known]]
        return boxes

    def _check_size(self, path: Path, pixels: Tensor) -> None:
        """Refuse frames smaller than the crop, which would be padded with black."""
        height, width = pixels.shape[-2:]
        multiscale = self.train and self.config.crop == "multiscale"
        if not multiscale and not self.config.short_side and min(height, width) < self.config.frame_size:
            raise DecodeError(
                path,
                f"frames of {height}×{width} pixels are smaller than frame_size {self.config.frame_size}, "
                "and resizing is switched off (resize_short 0)",
            )


class EpochSampler(Sampler[int]):
    """Samples rows in the list's order, or in an order derived from the dataset's seed and epoch."""

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
    """Create a loader of ``ClipBatch`` objects.

    Call ``dataset.set_epoch`` before each pass: shuffling, frame sampling and augmentation depend on it.

    Args:
        dataset: the clips.
        batch_size: videos per batch, ≥ 1; unreadable videos make a batch smaller.
        shuffle: draw a new order in each epoch; False for the list's order.
        order: rows of the index to load in this order, instead of ``shuffle``.
        batches: the rows of each batch, instead of ``batch_size``, ``shuffle``, ``order`` and ``drop_last``.
        workers: decoding processes, kept across passes over this loader; a video that crashes one is lost alone. 0
            decodes in this process.
        drop_last: leave out a smaller last batch.
        pin: put batches into page-locked memory, for non-blocking copies to a GPU.

    Raises:
        ValueError: not exactly one of ``batch_size`` and ``batches`` is given, or both ``shuffle`` and ``order`` are.
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
