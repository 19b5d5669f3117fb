"""A sample of a run's clips, decoded once, that stands for all of them; and the speed of decoding."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from adafocus_rl.data.clips import Clip, ClipBatch, collate
from adafocus_rl.data.dataset import ClipDataset, make_loader
from adafocus_rl.data.index import VideoIndex
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.forecast.meter import Decoding, Meter
from adafocus_rl.experiments.run.clips import Clips
from adafocus_rl.experiments.run.environment import cores

KEPT = 8
"""Largest number of clips that are kept."""

ENOUGH = 0.5
"""Seconds of decoding after which its speed is known."""

TRIED = 256
"""Largest number of videos that are tried, if none can be decoded."""


@dataclass(frozen=True, kw_only=True)
class SampleIndex(VideoIndex):
    """Some videos of a list under the whole list's hash, so that checkpoints do not tell the lists apart."""

    whole: VideoIndex
    """The whole list."""

    def hash(self) -> str:
        """Return the whole list's hash."""
        return self.whole.hash()


class SampleClips(ClipDataset):
    """A few clips of a dataset, already decoded.

    Args:
        whole: the dataset.
        clips: clips of it.
        decoding: speed at which it is decoded.
    """

    def __init__(self, whole: ClipDataset, clips: Sequence[Clip], decoding: Decoding) -> None:
        vars(self).update(vars(whole))  # frames, transforms and classes
        index = {field.name: getattr(whole.index, field.name) for field in dataclasses.fields(VideoIndex)}
        index["records"] = [whole.index[int(clip.row)] for clip in clips]
        self.index = SampleIndex(**index, whole=whole.index)
        self.whole = whole
        self.decoding = decoding
        self.given = clips
        self.clips = [dataclasses.replace(clip, row=torch.tensor(row)) for row, clip in enumerate(clips)]

    def __getitem__(self, i: int) -> Clip:
        """Return the i-th clip."""
        return self.clips[i]

    def first(self, count: int) -> SampleClips:
        """Return the first clips only."""
        return SampleClips(self.whole, self.given[:count], self.decoding)

    def batch(self, numbers: Sequence[int]) -> ClipBatch:
        """Return a batch of as many clips as there are numbers, repeated if there are fewer."""
        return collate([self.clips[number % len(self.clips)] for number in numbers])


def sample(whole: ClipDataset, *, workers: int) -> SampleClips:
    """Decode videos of a dataset until the speed is known, and keep a few clips.

    Args:
        whole: the dataset.
        workers: number of decoding processes.

    Raises:
        UserError: if none of the videos that are tried can be decoded.
    """
    batches: list[list[int]] = []
    loader = make_loader(whole, batches=batches, workers=workers)
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(whole.seed)).tolist()
    rows = itertools.cycle(order)
    kept: dict[int, Clip] = {}
    count, tried = max(2, 2 * loader.workers), 0
    spent: list[float] = []
    # The first pass also starts the processes. Passes are never left early, which would end a process.
    while len(spent) < 2 or spent[-1] < ENOUGH or (not kept and tried < min(TRIED, len(whole))):
        batches[:] = [[row] for row in itertools.islice(rows, count)]
        began = time.monotonic()
        decoded = [batch for batch in loader if len(batch)]
        spent.append(time.monotonic() - began)
        kept |= {int(batch.rows[0]): _clip(batch) for batch in decoded[: KEPT - len(kept)]}
        rate, tried = count / spent[-1], tried + count
        count *= 2
    if not kept:
        raise UserError(
            f"none of {tried} videos that were tried for a forecast can be decoded; `adafocus data check` names them"
        )
    # The second pass was twice as long as the first, which also started the processes.
    start = max(0.0, spent[0] - spent[1] / 2) if loader.workers else 0.0
    decoding = Decoding(rate=rate, start=start, workers=loader.workers, cores=cores())
    return SampleClips(whole, [*kept.values()], decoding)


def _clip(batch: ClipBatch) -> Clip:
    """Return the only clip of a batch."""
    return Clip(
        clip=batch.clips[0],
        label=batch.labels[0],
        multi_hot=batch.multi_hot[0],
        true_boxes=batch.true_boxes[0],
        frames=batch.frames[0],
        row=batch.rows[0],
    )


class SampledClips(Clips):
    """The clips of a run, of which only samples are decoded.

    Args:
        clips: all clips, which no other code uses.
        meter: counts the passes.
    """

    train: SampleClips
    train_still: SampleClips
    val: SampleClips
    stills: SampleClips | None

    def __init__(self, clips: Clips, meter: Meter) -> None:
        vars(self).update(vars(clips))
        self.meter = meter
        self.strict = False
        self.train = sample(clips.train, workers=clips.workers)
        self.train_still = sample(clips.train_still, workers=clips.workers)
        self.val = sample(clips.val, workers=clips.workers)
        self.stills = None if clips.stills is None else sample(clips.stills, workers=clips.workers)

    def passes(self, dataset: ClipDataset, batch_size: int) -> Callable[[int], Iterator[ClipBatch]]:
        """Return a function that yields a few batches of a pass."""
        assert isinstance(dataset, SampleClips)
        batches: dict[int, ClipBatch] = {}

        def batch(numbers: Sequence[int]) -> ClipBatch:
            if len(numbers) not in batches:
                batches[len(numbers)] = dataset.batch(numbers)
            return batches[len(numbers)]

        def one_pass(epoch: int) -> Iterator[ClipBatch]:
            kind, total = (id(dataset), batch_size), len(dataset.whole)
            return self.meter.batches(kind, batch, total=total, size=batch_size, decoding=dataset.decoding)

        return one_pass
