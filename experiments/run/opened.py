"""A run's recognizer and the features of a split, opened for reading only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adafocus_rl.envs.frames import ClipFrames, Frames
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.run.clips import check_videos
from adafocus_rl.experiments.run.features import open_bank
from adafocus_rl.experiments.run.handover import load_recognizer
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.steps import RANDOM_PATCHES
from adafocus_rl.experiments.run.tables import Split
from adafocus_rl.features import FeatureSource, LiveFeatures
from adafocus_rl.models.recognizer import Recognizer


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """The parts of a run that environments are built from."""

    run: Run
    """The run."""

    recognizer: Recognizer
    """The recognizer after stage I, in evaluation mode."""

    source: FeatureSource
    """Features of the split's videos."""

    frames: Frames
    """The clips, as frames to draw on."""


def open_features(run: str | Path, *, split: Split = "train", features: Literal["bank", "live"] = "bank") -> OpenRun:
    """Open a run's recognizer and the features of a split, without writing anything or starting a process.

    The bank does not need the video files. It needs the lists, to check that the bank was built from them. Only the
    bank of the run that comes with the package is built if it is missing.

    Args:
        run: the run folder; ``demo:`` for the run that comes with the package.
        split: training or validation videos, with the evaluation transforms; live training videos are augmented.
        features: ``bank`` reads the run's feature bank, ``live`` runs the encoders.

    Raises:
        UserError: if there is no such run or split, stage I, a list or the bank is missing, the bank is stale or
            incomplete, or none of the videos for live features can be decoded.
    """
    if split not in ("train", "val") or features not in ("bank", "live"):
        raise UserError(f"split is {split!r} and features {features!r}; give 'train' or 'val', and 'bank' or 'live'")
    opened = Run.open(run)
    recognizer = load_recognizer(opened, RANDOM_PATCHES.name)
    if features == "bank":
        dataset = opened.clips.train_still if split == "train" else opened.clips.val
        source: FeatureSource = open_bank(opened, recognizer, split, build=False)
    else:
        dataset = opened.clips.train if split == "train" else opened.clips.val
        opened.clips.note_failures(check_videos(dataset, opened.lists[split]))
        source = LiveFeatures(recognizer, dataset, device=opened.device)
    return OpenRun(run=opened, recognizer=recognizer, source=source, frames=ClipFrames(dataset))
