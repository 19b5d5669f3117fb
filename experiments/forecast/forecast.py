"""The forecast of a training: the training itself on a few batches, in a temporary folder."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from adafocus_rl.data.clip_source import clip_sources
from adafocus_rl.experiments.evaluation.evaluate import evaluate
from adafocus_rl.experiments.evaluation.timing import ROUNDS
from adafocus_rl.experiments.forecast.clips import SampledClips
from adafocus_rl.experiments.forecast.features import SampleFeatures
from adafocus_rl.experiments.forecast.meter import Meter
from adafocus_rl.experiments.forecast.resources import PeakMemory, free_disk
from adafocus_rl.experiments.forecast.trainer import SampleTrainer
from adafocus_rl.experiments.run.clips import Clips
from adafocus_rl.experiments.run.features import tables_of
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.skipping import unfinished
from adafocus_rl.experiments.run.steps import RANDOM_PATCHES, and_after
from adafocus_rl.experiments.run.store import store_of
from adafocus_rl.experiments.run.tables import Split
from adafocus_rl.experiments.terminal.progress import silent
from adafocus_rl.experiments.training.methods import other_methods
from adafocus_rl.experiments.training.train import train
from adafocus_rl.features.expected import expected_manifests
from adafocus_rl.features.known import KnownRows
from adafocus_rl.features.manifest import videos_in_shard
from adafocus_rl.features.memory import free_memory
from adafocus_rl.features.other_files import check_files
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.rotation import CheckpointRotation
from adafocus_rl.seeding import isolated

BANK, EVALUATION = "bank", "evaluation"
"""Names among the seconds of a forecast, besides those of steps."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is left of a training."""

    clips: Mapping[str, int]
    """Number of videos by list: ``train``, ``val``, ``stills``."""

    clips_per_second: Mapping[str, float]
    """Speed of decoding each list with all worker processes, while nothing else computes."""

    workers: int
    """Number of decoding processes."""

    device: str
    """Device that computes."""

    epochs: Mapping[str, int]
    """Number of epochs of each training step, those of further methods included."""

    seconds: Mapping[str, float]
    """Seconds of each training step, of ``bank``, and of ``evaluation`` without the training of further methods."""

    total: float
    """Seconds of all."""

    bank_bytes: int
    """Size of the feature banks; 0 if all features are live."""

    bank_in_memory: bool
    """Whether all banks will be held on the device."""

    checkpoint_bytes: int
    """Largest size of all checkpoints together."""

    free_disk: int
    """Free bytes on the disk of the run folder."""

    peak_bytes: int | None
    """Most memory of the device (CUDA) or of the main process, with banks that are held there; None if unknown."""

    peak_of_smaller_batches: bool
    """Whether whole minibatches took too long to be measured, so that the peak will be higher."""

    free_memory: int
    """Free bytes on the device; 0 if unknown."""

    def plain(self) -> dict[str, Any]:
        """Return the forecast as plain values (JSON)."""
        return {
            **dataclasses.asdict(self),
            "clips_per_second": {name: round(rate, 1) for name, rate in self.clips_per_second.items()},
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
            "total": round(self.total, 1),
        }


def forecast(run: Run, stages: Sequence[int], *, store: str | None = None) -> Forecast:
    """Measure parts of all that ``train`` and the evaluation after it will do; return what the whole will take.

    The code of the training runs in a temporary folder on a few clips, which are decoded once. Each pass over videos
    makes a few batches and counts the others, and each step makes two epochs and counts the others. Nothing of the run
    changes: neither its folder, nor its objects, nor the state of a random generator.

    Args:
        run: the run.
        stages: the stages to run, sorted.
        store: folder of a shared feature store; None for the run's.

    Raises:
        UserError: if a measured batch diverges, the run's bank is stale, or no video that is tried can be decoded.
    """
    meter, memory, free = Meter(run.device), PeakMemory(run.device), free_memory(run.device)
    with (
        tempfile.TemporaryDirectory(prefix="adafocus_forecast_") as folder,
        isolated(run.config.seed, "forecast", device=run.device),
        silent(),
        contextlib.ExitStack() as stack,
    ):
        clips = _sampled_clips(run, meter)
        sampled = _sampled(run, stages, RunFolder(Path(folder)), clips)
        videos = len(clips.train.whole)
        trainer = SampleTrainer(sampled, videos=videos, meter=meter, done=partial(_epochs_done, run))
        sampled.trainer = trainer
        stack.callback(sampled.log.close)
        stack.callback(trainer.run.log.close)
        unbuilt = partial(_unbuilt, run, stages, store)
        began = meter.now()
        features = train(sampled, stages, features_of=partial(SampleFeatures, meter=meter, unbuilt=unbuilt))
        seconds: dict[str, float] = {}
        banks: dict[str, int] = {}
        held = 0
        if features is not None:
            assert isinstance(features, SampleFeatures)

            def others() -> float:
                return meter.now() - began - sum(trainer.seconds.values()) - features.bank_seconds

            before = others()
            # Not all methods see the same part of the videos, so that no picture can show them side by side.
            _replace(sampled, sheet_videos=0, report_videos=0, replay_every=0)
            content = evaluate(sampled, features, partial(other_methods, sampled, features))
            _count_timed_videos(run, content["rows"], meter)
            seconds = {BANK: features.bank_seconds, EVALUATION: others() - before}
            banks = features.bank_bytes
            held = sum(size for split, size in banks.items() if features.resident[split])
        total = meter.now() - began
        finished = sum(path.stat().st_size for path in sampled.folder.checkpoints.glob("*.safetensors"))
    peak = memory.read()
    lists = {"train": clips.train, "val": clips.val, "stills": clips.stills}
    return Forecast(
        clips={name: len(one.whole) for name, one in lists.items() if one is not None},
        clips_per_second={name: one.decoding.rate for name, one in lists.items() if one is not None},
        workers=clips.train.decoding.workers,
        device=str(run.device),
        epochs=trainer.epochs,
        seconds={**trainer.seconds, **seconds},
        total=total,
        bank_bytes=sum(banks.values()),
        bank_in_memory=bool(banks) and held == sum(banks.values()),
        # A step's next checkpoint is written before the last one is removed.
        checkpoint_bytes=finished + 2 * max(trainer.state_bytes.values(), default=0),
        free_disk=free_disk(run.folder.path),
        peak_bytes=None if peak is None else peak + held,
        peak_of_smaller_batches=meter.scaled,
        free_memory=free,
    )


def _sampled_clips(run: Run, meter: Meter) -> SampledClips:
    lists = {"train": run.clips.train, "val": run.clips.val, "stills": run.clips.stills}
    indices = {name: clips.index for name, clips in lists.items() if clips is not None}
    return SampledClips(Clips(run.config, indices, pin=run.clips.pin), meter)


def _sampled(run: Run, stages: Sequence[int], folder: RunFolder, clips: Clips) -> Run:
    """Return the run in another folder, on a sample of its clips, with the checkpoints that it has already."""
    sampled = run.at(folder)
    sampled.resume = True
    vars(sampled).update(config=run.config, clips=clips)
    _replace(sampled, timed_videos=min(1, run.config.evaluation.timed_videos))
    stale = and_after(step.name for stage in stages for step in unfinished(run, stage))
    folder.checkpoints.mkdir(parents=True)
    for path in run.folder.checkpoints.glob("*.safetensors"):
        name = path.name.removesuffix(".safetensors")
        if ".resume." not in name and not any(step.covers(name) for step in stale):
            try:
                (folder.checkpoints / path.name).symlink_to(path.absolute())
            except OSError:  # Windows reserves symbolic links for administrators
                shutil.copyfile(path, folder.checkpoints / path.name)
    return sampled


def _replace(sampled: Run, **values: Any) -> None:
    """Change entries of ``evaluation`` in the configuration of the sampled run."""
    config = sampled.config
    vars(sampled)["config"] = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, **values))


def _epochs_done(run: Run, step: str) -> int:
    return CheckpointRotation(run.folder.checkpoints, f"{step}.resume").last_step() if run.resume else 0


def _unbuilt(run: Run, stages: Sequence[int], store: str | None, recognizer: Recognizer, split: Split) -> int:
    """Return the number of videos that the run's bank of a split lacks, when it is needed."""
    clips = run.clips.train_still if split == "train" else run.clips.val
    tables_in = store_of(run.folder, split, store)
    if not tables_in.shared and any(
        unfinished(run, stage) for stage in stages if stage <= (RANDOM_PATCHES.number or 0)
    ):
        return len(clips)  # no bank fits a recognizer that is still to be trained
    tables, config = tables_of(run.config), run.config.bank
    expected = expected_manifests(
        recognizer, clips, tables=tables, precision=config.precision, eight_bit=config.eight_bit
    )
    found = tables_in.find(expected)
    if tables_in.shared:
        check_files(found.values(), clips)
    built = [sum(videos_in_shard(table.manifest, shard) for shard in table.marks) for table in found.values()]
    # Those of frozen encoders may be copied from tables of other lists.
    sources = clip_sources(clips, range(len(clips))) if tables_in.shared else {}
    known = KnownRows(tables_in, expected, sources).rows(expected, sources)
    return len(clips) - max(min(built) if len(found) == len(expected) else 0, len(known))


def _count_timed_videos(run: Run, rows: Sequence[Mapping[str, Any]], meter: Meter) -> None:
    """Count the videos that an evaluation times one by one; one was timed for each method and operating point."""
    more = max(0, min(run.config.evaluation.timed_videos, len(run.clips.val)) - 1)
    each = {(row["agent"], row["knob"]): row["ms_per_video"] or 0.0 for row in rows}
    meter.add(more * (1 + ROUNDS) * sum(each.values()) / 1000)
