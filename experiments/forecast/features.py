"""Features of a run of which a few videos are encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch

from adafocus_rl.experiments.forecast.clips import KEPT, SampleClips
from adafocus_rl.experiments.forecast.meter import FEW, SLOW, Meter
from adafocus_rl.experiments.run.features import Kind, RunFeatures
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.tables import Split
from adafocus_rl.features import EpisodeFeatures, FeatureBank, FeatureSource, LiveFeatures, TableStore, build_bank
from adafocus_rl.features.bank import RESIDENT_SHARE
from adafocus_rl.features.memory import free_memory
from adafocus_rl.features.size import bytes_per_video
from adafocus_rl.features.specs import CLIPS
from adafocus_rl.models.recognizer import Recognizer

SLOW_VIDEO = 1.0
"""Seconds of encoding a video for a bank from which no further one is encoded."""


class SampleFeatures(RunFeatures):
    """Features of a run of which a few videos are encoded.

    Args:
        run: the run, with ``SampledClips``.
        recognizer: frozen f_G and f_L.
        meter: counts the encoding of all videos, and passes over them.
        unbuilt: returns the number of videos that the bank of a split still lacks, given the recognizer.

    Attributes:
        bank_seconds: seconds of building and opening banks.
        bank_bytes: size of the whole bank of each split.
        resident: whether the whole bank of each split will be held on the device.
    """

    def __init__(
        self, run: Run, recognizer: Recognizer, *, meter: Meter, unbuilt: Callable[[Recognizer, Split], int]
    ) -> None:
        super().__init__(run, recognizer)
        self.meter = meter
        self.unbuilt = unbuilt
        self.bank_seconds = 0.0
        self.bank_bytes: dict[str, int] = {}
        self.resident: dict[str, bool] = {}
        self._encoding: dict[int, float] = {}

    def _open(self, split: Split, kind: Kind) -> FeatureSource:
        if (split, kind) not in self._opened:
            clips = self._clips(split, kind)
            source: FeatureBank | LiveFeatures
            if kind == "bank":
                began = self.meter.now()
                source = self._sample_bank(split, clips)
                self.bank_seconds += self.meter.now() - began
            else:
                source = LiveFeatures(self.recognizer, clips, device=self.run.device)
            # Replaced on the instance, because environments take shortcuts for a source of class FeatureBank.
            vars(source)["batches"] = partial(self._batches, source, clips, split)
            self._opened[split, kind] = source
        return self._opened[split, kind]

    def _clips(self, split: Split, kind: Kind) -> SampleClips:
        clips = self.run.clips
        found = clips.val if split == "val" else clips.train if kind == "live" else clips.train_still
        assert isinstance(found, SampleClips)
        return found

    def _batches(
        self,
        source: FeatureSource,
        clips: SampleClips,
        split: Split,
        batch_size: int,
        *,
        epoch: int | None = None,
        share: None = None,  # one process makes a forecast
    ) -> Iterator[EpisodeFeatures]:
        def batch(numbers: Sequence[int]) -> EpisodeFeatures:
            return source.episodes(source.videos[torch.tensor(numbers) % len(source.videos)])

        kind, total = (id(source), batch_size), len(clips.whole)
        decoding = clips.decoding if isinstance(source, LiveFeatures) else None
        if split == "train":
            return self.meter.batches(kind, batch, total=total, size=batch_size, decoding=decoding)
        # Evaluation takes means over passes.
        sizes = [FEW] if self._is_slow(batch, source, batch_size) else [FEW, batch_size]
        return self.meter.same_batches(kind, batch, total=total, sizes=sizes, decoding=decoding)

    def _is_slow(
        self, batch: Callable[[Sequence[int]], EpisodeFeatures], source: FeatureSource, batch_size: int
    ) -> bool:
        """Return whether encoding a whole batch takes too long to be measured."""
        if isinstance(source, FeatureBank):
            return False
        if id(source) not in self._encoding:
            began = self.meter.real()
            for _ in range(2):  # the first batch warms up libraries
                at, episodes = self.meter.real(), batch(range(FEW))
                _encoded = episodes.global_map, episodes.full()
                self._encoding[id(source)] = (self.meter.real() - at) / FEW
            self.meter.add(began - self.meter.real())
        slow = self._encoding[id(source)] * batch_size > SLOW
        self.meter.scaled = self.meter.scaled or slow
        return slow

    def _sample_bank(self, split: Split, clips: SampleClips) -> FeatureBank:
        config, began = self.run.config, self.meter.real()
        for count in (1, KEPT):  # the first bank also warms up libraries
            opened, chosen = self.meter.real(), clips.first(count)
            store, encoding = self._build(split, chosen)
            if encoding / len(chosen) > SLOW_VIDEO:
                break
        resident = self._note_size(split, clips)
        bank = FeatureBank(
            store,
            device=self.run.device,
            seed=config.seed,
            resident="always" if resident else "never",
            index=chosen.index,
        )
        seconds = self.meter.per_clip(encoding / len(chosen), clips.decoding) * self.unbuilt(self.recognizer, split)
        self.meter.add(seconds - encoding - (opened - began))
        return bank

    def _build(self, split: Split, clips: SampleClips) -> tuple[TableStore, float]:
        """Build the bank of a few clips; return its store, and the seconds of encoding, without those of a start."""
        config, stamps = self.run.config.bank, [(0, self.meter.real())]

        def progress(done: int, total: int) -> None:
            stamps.append((done, self.meter.real()))

        store = TableStore(self.run.folder.features / f"{split}{len(clips)}")
        build_bank(
            store,
            self.recognizer,
            clips,
            device=self.run.device,
            shard_videos=config.shard_videos,
            chunk_videos=config.chunk_videos,
            tables=self.tables,
            precision=config.precision,
            eight_bit=config.eight_bit,
            progress=progress,
        )
        # The first call comes before the first chunk, the second after it. If there are others, they are typical.
        (before, began), (after, ended) = stamps[2 if len(stamps) > 3 else 1], stamps[-1]
        return store, (ended - began) / (after - before) * len(clips)

    def _note_size(self, split: Split, clips: SampleClips) -> bool:
        """Note the size of the whole bank; return whether it will be held on the device, as ``FeatureBank`` decides."""
        each = bytes_per_video(
            self.recognizer,
            frames=clips.num_frames,
            classes=clips.num_classes,
            tables=self.tables,
            eight_bit=self.run.config.bank.eight_bit,
        )
        tables = len(clips.whole) * sum(size for name, size in each.items() if name != CLIPS)
        held = sum(size for name, size in self.bank_bytes.items() if self.resident[name])
        fits = tables <= RESIDENT_SHARE * (free_memory(self.run.device) - held)
        self.bank_bytes[split] = len(clips.whole) * sum(each.values())
        self.resident[split] = {"always": True, "never": False, "auto": fits}[self.run.config.bank.resident]
        return self.resident[split]
