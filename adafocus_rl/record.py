"""Episode records: the decisions and predictions of methods in every frame of a set of videos, in one small file.

Any method that processes some part of each frame can be recorded: an agent of the project, a method of another paper,
f_L on whole frames. Pages, films and pictures are drawn only from a record and the videos, so they show exactly what
was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adafocus_rl import checkpoint
from adafocus_rl.errors import UserError

KIND = "episodes"
RECORD_VERSION = 3

ONE_SCALE = (1.0,)
"""Scales of patches that all have P pixels."""

SINGLE_SCALE_VERSION = 2
"""Version in which records are written whose patches have one scale, so that earlier releases can read them."""

RANDOM_PATCHES = "random patches"
"""Variant of a method with the f_C of stage I, which was trained on random patches."""

FINE_TUNED = "fine-tuned"
"""Variant with the f_C of stage III, which was fine-tuned on the agent's patches."""

RANDOM_DECISIONS = "random decisions"
"""Variant of the random counterpart of a method, which is shown beside the method."""

VARIANT_AFTER = {2: RANDOM_PATCHES, 3: FINE_TUNED}
"""Variants by the last stage of training, which files of version 1 store instead."""

WHOLE_FRAMES = "full_frame"
"""Name of the only method without variants in files of version 1."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One method at one operating point on N videos of T frames; all tensors are on CPU."""

    name: str
    """Label in tables."""
    boxes: Tensor
    """(N, T, 4) int64 boxes of f_L's inputs, also in skipped frames: (top, left, height, width) in pixels."""
    kept: Tensor
    """(N, T) bool, whether f_L was run."""
    predicted: Tensor
    """(N, T) int64, the most probable class after the frame."""
    confidence: Tensor
    """(N, T) float32, the probability of the predicted class."""
    true_confidence: Tensor
    """(N, T) float32, the probability of the video's (first) true class after the frame."""
    macs: Tensor
    """(N, T) int64 multiply-accumulates spent on the frame."""
    probabilities: Tensor | None = None
    """(N, T, A) float16, π's probabilities of all grid positions, scale by scale and row by row; None if the agent has
    none."""
    reward: Tensor | None = None
    """(N, T) float32; None if it was not computed."""
    sizes: Tensor | None = None
    """(N, T) int64, side in pixels of f_L's input, to which it was resized, and 0 if it was not run; None if it is that
    of the box."""
    order: Tensor | None = None
    """(N, T) int64, when f_L was run on the frame, counted from 0, and −1 if it was not; None for the frames' order."""
    ran: Tensor | None = None
    """(N, T) bool, False in frames that the method skips or after which it has stopped; None for methods that do
    neither."""
    variant: str | None = None
    """Distinguishes methods with the same name, which differ only in their weights; None if there is only one."""
    knob: float | None = None
    """The operating point, such as λ of an agent that skips frames; None for a method that has only one."""
    patch_size: int = 0
    """P of the grid's patches, needed to draw the probabilities; 0 without them."""
    patch_scales: tuple[float, ...] = ONE_SCALE
    """Scales of the grid's patches, needed for the same."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further plain values, such as the seed."""

    @property
    def title(self) -> str:
        """Title that distinguishes the trace from the others of its record."""
        return title_of(self.name, self.variant, self.knob)

    def choices(self, place: int) -> dict[str, Tensor]:
        """Return ``sizes``, ``order`` and ``ran`` (T,) of one video, without those that are None."""
        every = {"sizes": self.sizes, "order": self.order, "ran": self.ran}
        return {name: value[place] for name, value in every.items() if value is not None}

    @property
    def last_predicted(self) -> Tensor:
        """(N,) int64, the prediction after the last frame."""
        return self.predicted[:, -1]


def title_of(name: str, variant: str | None, knob: float | None) -> str:
    """Return the title of a method's operating point: ``ppo+skip at 0.01, fine-tuned``."""
    return name + ("" if knob is None else f" at {knob:g}") + ("" if variant is None else f", {variant}")


_TENSORS = (
    *("boxes", "kept", "predicted", "confidence", "true_confidence", "macs", "probabilities", "reward"),
    *("sizes", "order", "ran"),
)
_SMALL = {
    "boxes": torch.int32, "predicted": torch.int32, "probabilities": torch.float16, "sizes": torch.int32,
    "order": torch.int32,
}  # fmt: skip
"""Types on disk where smaller ones suffice; on reading, integers become int64 again."""
_TYPES = {
    "boxes": torch.int64, "kept": torch.bool, "predicted": torch.int64, "confidence": torch.float32,
    "true_confidence": torch.float32, "macs": torch.int64, "probabilities": torch.float16, "reward": torch.float32,
    "sizes": torch.int64, "order": torch.int64, "ran": torch.bool,
}  # fmt: skip
"""Types after reading."""


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """Several methods on the same N videos."""

    split: str
    """Name of the set of videos, such as ``val``."""
    videos: Tensor
    """(N,) int64 rows of the index."""
    paths: list[str]
    """N paths as listed."""
    multi_hot: Tensor
    """(N, K) bool, the true classes."""
    true_boxes: Tensor
    """(N, T, 4) float32 (top, left, height, width), NaN where absent or unknown."""
    frame_size: int
    """S."""
    class_names: list[str]
    """K names."""
    index_hash: str
    """Hash of the list of videos (``VideoIndex.hash``)."""
    traces: list[Trace]
    """In the order of the results table."""

    def __len__(self) -> int:
        return len(self.videos)

    @property
    def num_frames(self) -> int:
        """T."""
        return self.true_boxes.shape[1]

    def right(self, trace: Trace) -> Tensor:
        """Return whether each prediction is a true class, (N,) bool."""
        return self.multi_hot.gather(1, trace.last_predicted[:, None])[:, 0]

    def last_traces(self) -> list[Trace]:
        """Return, for each name and operating point, the trace of the last variant, and of the random counterpart."""
        found = {(trace.name, trace.knob, trace.variant == RANDOM_DECISIONS): trace for trace in self.traces}
        return list(found.values())

    def save(self, path: str | Path) -> None:
        """Write the record atomically as one safetensors file with a JSON manifest."""
        tensors = {"videos": self.videos, "multi_hot": self.multi_hot, "true_boxes": self.true_boxes}
        traces = []
        for number, trace in enumerate(self.traces):
            for name in _TENSORS:
                value = getattr(trace, name)
                if value is not None:
                    tensors[f"{number}.{name}"] = value.to(_SMALL.get(name, value.dtype))
            traces.append({
                "name": trace.name, "variant": trace.variant, "knob": trace.knob,
                "patch_size": trace.patch_size, "facts": dict(trace.facts),
                **({} if trace.patch_scales == ONE_SCALE else {"patch_scales": [*trace.patch_scales]}),
            })  # fmt: skip
        several = any(trace.patch_scales != ONE_SCALE for trace in self.traces)
        manifest = {
            "kind": KIND, "record_version": RECORD_VERSION if several else SINGLE_SCALE_VERSION, "split": self.split,
            "paths": self.paths, "frame_size": self.frame_size, "class_names": self.class_names,
            "index": self.index_hash, "traces": traces,
        }  # fmt: skip
        checkpoint.save(path, tensors=tensors, manifest=manifest)

    @classmethod
    def load(cls, path: str | Path) -> EpisodeRecord:
        """Load a record that ``save`` has written.

        Raises:
            UserError: the file does not exist, is not a record, is damaged, or has a newer version.
        """
        tensors, manifest = checkpoint.load(path)
        with checkpoint.reading(path):
            if manifest.get("kind") != KIND:
                raise UserError(f"{path} is a checkpoint of kind {manifest.get('kind')!r}, not an episode record")
            if manifest["record_version"] > RECORD_VERSION:
                raise UserError(
                    f"{path} has record version {manifest['record_version']}, but this adafocus_rl reads up to "
                    f"{RECORD_VERSION}; upgrade adafocus_rl, or write it again with `adafocus evaluate RUN`"
                )
            return _checked(cls._of(tensors, manifest))

    @classmethod
    def _of(cls, tensors: Mapping[str, Tensor], manifest: Mapping[str, Any]) -> EpisodeRecord:
        for name in ("paths", "class_names", "traces"):
            _require(manifest[name], list, name)
        wide = {name: value.long() if value.dtype == torch.int32 else value for name, value in tensors.items()}
        old = manifest["record_version"] < 2
        traces = [
            Trace(
                name=plain["name"],
                variant=old_variant(plain["name"], plain["after_stage"]) if old else plain["variant"],
                knob=plain["lambda"] if old else plain["knob"],
                patch_size=plain["patch_size"],
                patch_scales=tuple(plain.get("patch_scales", ONE_SCALE)),
                facts=plain["facts"],
                **{name: wide[f"{number}.{name}"] for name in _TENSORS if f"{number}.{name}" in wide},
            )
            for number, plain in enumerate(manifest["traces"])
        ]
        return cls(
            split=manifest["split"],
            videos=wide["videos"],
            paths=list(manifest["paths"]),
            multi_hot=wide["multi_hot"],
            true_boxes=wide["true_boxes"],
            frame_size=manifest["frame_size"],
            class_names=list(manifest["class_names"]),
            index_hash=manifest["index"],
            traces=traces,
        )


def old_variant(name: str, after_stage: int) -> str | None:
    """Return the variant of a method in a file of version 1, which stores the last stage of training instead.

    Raises:
        KeyError: the stage is unknown.
    """
    return None if name == WHOLE_FRAMES else VARIANT_AFTER[after_stage]


def _checked(record: EpisodeRecord) -> EpisodeRecord:
    """Return the record if its parts are consistent; pages and pictures are drawn from it without further checks.

    Raises:
        TypeError: a part has the wrong type.
        ValueError: a part does not match the others; the message names the first.
    """
    count, frames = record.true_boxes.shape[:2]
    classes = len(record.class_names)
    _require(record.frame_size, int, "frame_size")
    _require(record.split, str, "split")
    _require(record.index_hash, str, "index")
    for text in (*record.paths, *record.class_names):
        _require(text, str, "a path or a name of a class")
    if len(record.paths) != count or not 1 <= record.frame_size < 1 << 20:
        raise ValueError(f"{len(record.paths)} paths of {count} videos, of frames of {record.frame_size} pixels")
    shapes = {
        "videos": (record.videos, torch.int64, (count,)),
        "multi_hot": (record.multi_hot, torch.bool, (count, classes)),
        "true_boxes": (record.true_boxes, torch.float32, (count, frames, 4)),
    }
    for trace in record.traces:
        _require(trace.name, str, "a trace's name")
        _require(trace.variant, (str, type(None)), "variant")
        _require(trace.patch_size, int, "patch_size")
        if not trace.patch_scales or not all(0 < scale < 1 << 20 for scale in trace.patch_scales):
            raise ValueError(f"{trace.name} has patches of the scales {[*trace.patch_scales]}")
        _require(trace.knob, (int, float, type(None)), "knob")
        _require(trace.facts, dict, "facts")
        for name in _TENSORS:
            value = getattr(trace, name)
            if value is not None:
                tail = {"boxes": (4,), "probabilities": tuple(value.shape[2:3])}.get(name, ())
                shapes[f"{trace.name}'s {name}"] = (value, _TYPES[name], (count, frames, *tail))
    for name, (value, dtype, shape) in shapes.items():
        if value.dtype != dtype or tuple(value.shape) != shape:
            raise ValueError(f"{name} is {value.dtype} {tuple(value.shape)}, expected {dtype} {shape}")
    for trace in record.traces:
        if trace.predicted.numel() and not 0 <= int(trace.predicted.min()) <= int(trace.predicted.max()) < classes:
            raise ValueError(f"{trace.name} predicts classes that are none of the {classes}")
    return record


def _require(value: object, kind: type | tuple[type, ...], what: str) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{what} is a {type(value).__name__}")
