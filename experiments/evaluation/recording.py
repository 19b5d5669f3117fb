"""Episode records of a run's videos, from the outcomes of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from adafocus_rl import ranks
from adafocus_rl.agents.methods import Outcome
from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.features import EpisodeFeatures
from adafocus_rl.record import EpisodeRecord, Trace


@dataclass(kw_only=True)
class Recorder:
    """Collects the batches of one method's visit to a set of videos.

    Attributes:
        name: the method's label.
        variant: the method's variant.
        knob: the operating point.
        facts: further plain values.
    """

    name: str
    variant: str | None = None
    knob: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._parts: list[dict[str, Tensor]] = []
        self._videos: list[dict[str, Tensor]] = []
        self._patch_size = 0
        self._patch_scales: tuple[float, ...] = (1.0,)

    def add(self, batch: EpisodeFeatures, outcome: Outcome) -> None:
        """Add a batch; batches come in the source's order of videos."""
        steps = outcome.trace
        belief = steps.logits.float().softmax(-1)
        confidence, predicted = belief.max(-1)
        true = belief.gather(-1, batch.labels[:, None, None].expand(-1, belief.shape[1], 1))[..., 0]
        part = {
            "boxes": steps.boxes, "kept": steps.looks, "predicted": predicted, "confidence": confidence,
            "true_confidence": true, "macs": steps.macs,
        }  # fmt: skip
        more = {"reward": steps.reward, "sizes": steps.sizes, "order": steps.order, "ran": steps.ran}
        part |= {name: value for name, value in more.items() if value is not None}
        if steps.probabilities is not None:
            part["probabilities"] = steps.probabilities.half()
            self._patch_size, self._patch_scales = steps.patch_size, steps.patch_scales
        self._parts.append({name: value.cpu() for name, value in part.items()})
        facts = {"videos": batch.videos, "multi_hot": batch.multi_hot > 0, "true_boxes": batch.true_boxes}
        self._videos.append({name: value.cpu() for name, value in facts.items()})

    def gather(self) -> None:
        """Add the batches that the other ranks have recorded, in the order of the videos."""
        own = self._parts, self._videos, self._patch_size, self._patch_scales
        found = [other for other in ranks.gather(own) if other[0]]
        parts, videos = [part for other in found for part in other[0]], [some for other in found for some in other[1]]
        self._patch_size, self._patch_scales = found[0][2:]
        order = torch.cat([some["videos"] for some in videos]).argsort()
        self._parts = [{name: value[order] for name, value in _joined(parts).items()}]
        self._videos = [{name: value[order] for name, value in _joined(videos).items()}]

    def finish(self) -> Trace:
        """Return the trace of all batches."""
        return Trace(
            name=self.name,
            variant=self.variant,
            knob=self.knob,
            patch_size=self._patch_size,
            patch_scales=self._patch_scales,
            facts=self.facts,
            **_joined(self._parts),
        )

    def videos(self) -> dict[str, Tensor]:
        """Return the facts about the videos in an episode record: ``videos``, ``multi_hot`` and ``true_boxes``."""
        return _joined(self._videos)


def make_record(dataset: ClipDataset, split: str, recorders: Sequence[Recorder]) -> EpisodeRecord:
    """Return the record of recorders that have each seen the same videos of a dataset.

    Args:
        dataset: the clips.
        split: name of the split, such as ``val``.
        recorders: at least one recorder.
    """
    index = dataset.index
    facts = recorders[0].videos()
    return EpisodeRecord(
        split=split,
        paths=[index[row].path for row in facts["videos"].tolist()],
        frame_size=dataset.config.frame_size,
        class_names=class_names(dataset),
        index_hash=index.hash(),
        traces=[recorder.finish() for recorder in recorders],
        **facts,
    )


def class_names(dataset: ClipDataset) -> list[str]:
    """Return K class names; the name of a class that has none in the data is its number."""
    given = dataset.index.class_names or ()
    return [*given, *(str(number) for number in range(len(given), dataset.num_classes))]


def _joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
