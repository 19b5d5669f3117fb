"""Videos of a run: its lists, and the clips made from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch.utils.data import BatchSampler

from adafocus_rl import ranks
from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.data.dataset import ClipDataset, EpochSampler, make_loader
from adafocus_rl.data.index import VideoIndex, VideoRecord, missing
from adafocus_rl.data.read import read_indices
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.clips import clips_of
from adafocus_rl.experiments.config.embedded import make_embedded
from adafocus_rl.experiments.config.experiment import DataConfig, ExperimentConfig
from adafocus_rl.experiments.terminal.progress import say


class Clips:
    """The videos of a run as clips.

    Args:
        config: the run's configuration, with ``num_classes`` filled in.
        indices: the videos by split: ``train``, ``val`` and optionally ``stills``.
        pin: whether to put batches in page-locked memory, from which a GPU copies them faster.
        strict: whether the first undecodable video ends the command.

    Attributes:
        train: training clips, augmented.
        train_still: the training videos with the evaluation transforms, one fixed clip each.
        val: validation clips.
        stills: close-ups for stage 0, augmented; None if there are none, or stage 0 does not use them.
        failed: reasons of undecodable videos, by path.
    """

    def __init__(
        self, config: ExperimentConfig, indices: Mapping[str, VideoIndex], *, pin: bool = False, strict: bool = False
    ) -> None:
        self.workers = config.data.workers
        self.pin = pin
        self.strict = strict
        self.failed: dict[str, str] = {}
        self.train = clips_of(config, indices["train"], train=True)
        self.train_still = clips_of(config, indices["train"], train=False)
        self.val = clips_of(config, indices["val"], train=False)
        wanted = "stills" in indices and config.stage0.stills.epochs
        side = config.model.patch_size
        self.stills = clips_of(config, indices["stills"], train=True, side=side) if wanted else None

    @property
    def index_hashes(self) -> list[str]:
        """Hashes of the training lists; a run cannot be resumed with other lists."""
        return [clips.index.hash() for clips in (self.train, self.stills) if clips is not None]

    @property
    def class_names(self) -> list[str] | None:
        """Class names in the order of the labels, the same for all lists; None if no list has any."""
        given = self.train.index.class_names or self.val.index.class_names
        return None if given is None else [*given]

    def note_failures(self, failed: list[tuple[str, str]]) -> None:
        """Record videos that could not be decoded, and warn about each once.

        Raises:
            UserError: for the first of them if ``strict``.
        """
        for path, reason in failed:
            if path in self.failed:
                continue
            self.failed[path] = reason
            if self.strict:
                raise UserError(f"cannot decode {path}: {reason}; leave --strict out to go on without it")
            say(f"warning: left out {path}: {reason}")

    def check(self, lists: Mapping[str, Path]) -> None:
        """Check that the videos exist, and that at least one of each list can be decoded.

        Args:
            lists: the list files by split, for messages.

        Raises:
            UserError: if no video of a list can be used.
        """
        for split, clips in (("train", self.train_still), ("val", self.val), ("stills", self.stills)):
            if clips is not None:
                self.note_failures(check_videos(clips, lists[split], workers=self.workers))

    def passes(self, dataset: ClipDataset, batch_size: int) -> Callable[[int], Iterator[ClipBatch | None]]:
        """Return a function that yields the batches of one shuffled pass over a dataset, given the epoch.

        In a job of several ranks, each decodes and yields its part of every batch, and all must complete the pass.
        Instead of a batch or a part without clips, None is yielded. Undecodable videos are recorded and left out. The
        worker processes live as long as the returned function.

        Args:
            dataset: the clips.
            batch_size: videos per batch, over all ranks.
        """
        order = BatchSampler(EpochSampler(dataset, shuffle=True), batch_size, drop_last=False)
        loaded: list[Sequence[int]] = []
        # Changed in place: the loader reads the list at the start of a pass.
        loader = make_loader(dataset, batches=loaded, workers=self.workers, pin=self.pin)

        def one_pass(epoch: int) -> Iterator[ClipBatch | None]:
            dataset.set_epoch(epoch)
            parts = [ranks.own(rows) for rows in order]
            loaded[:] = [rows for rows in parts if rows]
            batches = iter(loader)
            clips, failed = 0, []
            for rows in parts:
                batch = next(batches) if rows else None
                if batch is not None:
                    self.note_failures(batch.failed)
                    failed += batch.failed
                    clips += len(batch)
                yield batch if batch is not None and len(batch) else None
            next(batches, None)  # ends the loader's pass
            for found in ranks.gather(failed):
                self.note_failures(found)
            if not ranks.total(torch.tensor(clips)):
                raise UserError(f"none of the {len(dataset)} training videos can be decoded; see the reasons above")

        return one_pass


def one_video(config: ExperimentConfig, path: Path) -> ClipDataset:
    """Return the clip of one video, given by its absolute path, with evaluation transforms and a placeholder label."""
    index = VideoIndex(records=[VideoRecord(path=str(path), labels=(0,))], root=Path())
    return clips_of(config, index, train=False)


def read_run_lists(config: ExperimentConfig, lists: Mapping[str, Path]) -> dict[str, VideoIndex]:
    """Read the videos of a run's lists, with their classes in the order of the training list.

    Raises:
        UserError: if a list cannot be read, or its classes contradict those of the training list.
    """
    data = config.data
    return read_indices(
        lists,
        root=Path(data.root) if data.root and not data.embedded else None,
        classes=Path(data.classes) if data.classes else None,
        format=data.format,
        template=data.frame_template,
        num_classes=config.model.num_classes,
    )


def check_videos(clips: ClipDataset, listed_in: Path, *, workers: int = 0) -> list[tuple[str, str]]:
    """Check that every video exists, and decode videos in order until one succeeds.

    Args:
        clips: the videos.
        listed_in: their list, for the message.
        workers: 0 decodes in this process; any other number uses one worker process, which a video may crash.

    Returns:
        (path, reason) of the videos that are missing or turned out to be undecodable.

    Raises:
        UserError: if no video can be used.
    """
    failed = dict(missing(clips.index))
    there = [row for row, record in enumerate(clips.index) if record.path not in failed]
    # One pass per video: leaving a pass early would end a process that may be about to send the next clip, which fails
    # where processes are not forked.
    batches: list[list[int]] = []
    loader = make_loader(clips, batches=batches, workers=min(1, workers))
    for row in there:
        batches[:] = [[row]]
        for batch in loader:
            if len(batch):
                return list(failed.items())
            failed.update(batch.failed)
    path, reason = next(iter(failed.items()))
    raise UserError(
        f"none of the {len(clips)} videos of {listed_in} can be used (the first: {clips.index.root / path}: {reason}); "
        "correct the list, or give their folder with --data.root"
    )


def find_lists(config: DataConfig) -> dict[str, Path]:
    """Return the list files by split; make an embedded dataset first if it is missing.

    Raises:
        UserError: if the configuration names neither an embedded dataset nor list files.
    """
    if config.embedded:
        return make_embedded(config.embedded, Path(config.root or f"data/{config.embedded}"), config.embedded_options)
    if not config.train_list or not config.val_list:
        raise UserError(
            "the recipe names no data; give data.train_list and data.val_list (CSV files with the columns path,label, "
            "or one of the formats of docs/datasets.md), or data.embedded"
        )
    named = {"train": config.train_list, "val": config.val_list, "stills": config.stills_list}
    return {split: Path(name) for split, name in named.items() if name}
