"""Episode records of a run's videos."""

from __future__ import annotations

from collections.abc import Sequence

from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.envs.tracing import FrameMacs, Tracer
from adafocus_rl.flops import Macs
from adafocus_rl.record import EpisodeRecord


def make_record(dataset: ClipDataset, split: str, tracers: Sequence[Tracer]) -> EpisodeRecord:
    """The record of tracers that have each seen the same videos of a dataset.

    Args:
        dataset: the clips.
        split: what they are called.
        tracers: at least one.
    """
    index = dataset.index
    facts = tracers[0].videos()
    return EpisodeRecord(
        split=split,
        paths=[index[row].path for row in facts["videos"].tolist()],
        frame_size=dataset.config.frame_size,
        class_names=class_names(dataset),
        index_hash=index.hash(),
        traces=[tracer.finish() for tracer in tracers],
        **facts,
    )


def class_names(dataset: ClipDataset) -> list[str]:
    """K names; those that the data does not give are the numbers."""
    given = dataset.index.class_names or ()
    return [*given, *(str(number) for number in range(len(given), dataset.num_classes))]


def frame_macs(costs: Macs, *, policy_macs: int, whole_frames: bool = False) -> FrameMacs:
    """What a frame costs: f_G, policies and f_C always, f_L where it looks.

    Args:
        costs: of the recognizer's parts.
        policy_macs: of π and π′ for one step.
        whole_frames: whether f_L looks at whole frames, not patches.
    """
    local = costs.focus_full if whole_frames else costs.focus_patch
    return FrameMacs(always=costs.glance + costs.classifier + policy_macs, local=local)
