"""Checks of the classes, and of the overlap between a training and a validation list."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.data.class_names import plain
from adafocus_rl.data.content import same_content
from adafocus_rl.data.findings import Finding, Level, Listed
from adafocus_rl.data.index import VideoRecord
from adafocus_rl.data.locate import VIDEO_SUFFIXES

IMBALANCE = 10
"""Largest ratio of videos between the largest and the smallest class that is not noted."""


def class_counts(records: Sequence[VideoRecord], num_classes: int) -> NDArray[np.int64]:
    """Count the videos of each class, (K,); a video counts for each of its labels."""
    labels: NDArray[Any] = np.array([label for record in records for label in record.labels], dtype=np.int64)
    return np.bincount(labels, minlength=num_classes).astype(np.int64)


def check_names(lists: Sequence[Listed]) -> Iterator[Finding]:
    """Find empty and duplicate class names; each file of names is checked once."""
    files = {one.content.classes.source: one.content.classes for one in lists if one.content.classes}
    for source, classes in files.items():
        first: dict[str, int] = {}
        for label, name in enumerate(classes.names):
            if not name:
                yield _fault("class_name", source, f"class {label} has an empty name; fill the line, or remove it")
            elif plain(name) in first:
                other = first[plain(name)]
                yield _fault("class_name", source, f"classes {other} and {label} are both named {name!r}; rename one")
            first.setdefault(plain(name), label)


def check_balance(lists: Sequence[Listed], num_classes: int, *, flip: bool) -> Iterator[Finding]:
    """Find classes without videos, unbalanced classes, and classes that mirroring turns into another one.

    Args:
        lists: the lists, training first, with all listed videos, usable or not.
        num_classes: K.
        flip: whether training clips are mirrored.
    """
    counts = [class_counts(one.records, num_classes) for one in lists]
    names = lists[0].content.classes.names if lists[0].content.classes else ()

    def told(without: Iterable[int]) -> str:
        return _some([f"{label} ({names[label]})" if label < len(names) else str(label) for label in without])

    if empty := _without(counts[0]):
        text = f"no video has class {told(empty)} (of {num_classes}); add some, or correct the names of classes"
        yield _fault("empty_class", str(lists[0].file), text)
    for one, each in zip(lists[1:], counts[1:], strict=True):
        if absent := _without(each):
            text = f"no video here has class {told(absent)} (of {num_classes}); mAP leaves it out"
            yield _finding("note", "absent_class", str(one.file), text)
    present = counts[0][counts[0] > 0]
    if len(present) and present.max() > IMBALANCE * present.min():
        text = f"the largest class ({counts[0].argmax()}) has {present.max()} videos, the smallest {present.min()}"
        yield _finding("note", "imbalance", str(lists[0].file), text)
    sided = [name for name in names if re.search(r"\b(left|right)\b", name, re.IGNORECASE)]
    if sided and flip:
        text = f"{len(sided)} class names tell left from right (such as {sided[0]!r}); train with data.flip: false"
        yield _finding("note", "mirror", str(lists[0].file), text)


def check_copies(lists: Sequence[Listed]) -> Iterator[Finding]:
    """Find videos that are the same file under two names, or copies, in one list or in both."""
    owners: dict[Path, list[tuple[Listed, VideoRecord]]] = {}
    for one in lists:
        for record in one.records:
            owners.setdefault(Path(os.path.realpath(one.path(record))), []).append((one, record))
    for entries in owners.values():
        yield from _again(entries, "is the same file as")
    for group in same_content(owners):
        yield from _again([owners[path][0] for path in group], "is byte for byte the same as")


def check_ids(train: Listed, val: Listed, told: Sequence[Finding]) -> Iterator[Finding]:
    """Find ids and groups that are in both lists.

    Args:
        train: the training list.
        val: the validation list.
        told: earlier findings; a copy of a training video is not reported again for its id.
    """
    ids = {_id(record.path): record for record in train.records}
    before = {finding.where for finding in told if finding.kind == "overlap_file"}
    for record in val.records:
        name = _id(record.path)
        # Plain numbers start anew in each folder, where they name different videos.
        if name in ids and val.where(record) not in before and not (name.isdigit() and "/" in record.path):
            other = ids[name]
            text = f"{record.path!r} has the id of {other.path!r} ({train.where(other)}); remove one of the two"
            yield _fault("overlap_id", val.where(record), text)
    groups = [{record.extra.get("group", "") for record in one.records} - {""} for one in (train, val)]
    for group in sorted(groups[0] & groups[1]):
        text = f"group {group!r} has videos in both lists; keep it on one side (`adafocus data index` does)"
        yield _fault("overlap_group", str(val.file), text)


def _without(counts: NDArray[np.int64]) -> list[int]:
    """List the classes without a video."""
    return [int(label) for label in np.flatnonzero(counts == 0)]


def _some(names: Sequence[str], most: int = 10) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"


def _again(entries: Sequence[tuple[Listed, VideoRecord]], how: str) -> Iterator[Finding]:
    """Yield a fault for each entry but the first."""
    first, original = entries[0]
    for one, record in entries[1:]:
        kind, remedy = ("copy", "remove one") if one is first else ("overlap_file", "remove it from one list")
        text = f"{record.path!r} {how} {original.path!r} ({first.where(original)}); {remedy}"
        yield _fault(kind, one.where(record), text)


def _id(path: str) -> str:
    """Id of a video, however it is stored: the last part of the path, without suffix and ``v_``."""
    name = Path(path)
    return (name.stem if name.suffix.lower() in VIDEO_SUFFIXES else name.name).removeprefix("v_")


def _fault(kind: str, where: str, text: str) -> Finding:
    return _finding("fault", kind, where, text)


def _finding(level: Level, kind: str, where: str, text: str) -> Finding:
    return Finding(level=level, kind=kind, where=where, text=text)
