"""Lists of a user's own videos, from a folder per class or a table, split into training and validation."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from adafocus_rl.data.class_names import read_class_names
from adafocus_rl.data.csv_rows import Row, csv_rows
from adafocus_rl.data.frame_names import IMAGE_SUFFIXES
from adafocus_rl.data.index import VideoRecord, spelled
from adafocus_rl.data.list_text import LIST_LIMIT, ListError, believable, flaw, number, split_labels
from adafocus_rl.data.locate import VIDEO_SUFFIXES
from adafocus_rl.errors import UserError
from adafocus_rl.files import read_text


@dataclass(frozen=True, kw_only=True)
class OwnVideos:
    """Videos with classes, groups and folds, before the split."""

    records: list[VideoRecord]
    """The videos; ``extra`` may hold "group" and "fold"."""
    class_names: tuple[str, ...]
    """Names of the classes, in the order of the labels."""
    ignored: Counter[str] = field(default_factory=Counter)
    """Number of files that are not videos, by suffix."""
    unlisted: list[str] = field(default_factory=list)
    """Videos left out because a list cannot hold their paths, for example paths that are not UTF-8."""


def scan_folder(folder: Path) -> OwnVideos:
    """Find the videos in a folder that has one subfolder per class.

    The classes are its direct subfolders, in alphabetical order. Inside them, at any depth, a file with a suffix of
    ``VIDEO_SUFFIXES`` is a video, and so is a folder of images. Names that begin with a dot are ignored.

    Args:
        folder: the folder; paths are listed relative to it.

    Raises:
        UserError: the folder does not exist, has no subfolders, or has one without a video.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; expected one with a folder of videos for each class")
    ignored: Counter[str] = Counter()
    found: dict[str, list[str]] = {}
    unlisted: list[str] = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            videos = [video.relative_to(folder).as_posix() for video in sorted(videos_in(entry, ignored))]
            good = {} if flaw(entry.name) else dict.fromkeys(filter(_listable, videos))
            unlisted += [video for video in videos if video not in good]
            if good or not videos:
                found[entry.name] = [*good]
    if not any(found.values()):
        endings = " ".join(sorted(VIDEO_SUFFIXES))
        raise UserError(
            f"{folder} holds no videos in folders of classes; expected CLASS/NAME with one of the endings {endings}, "
            "or folders of .jpg or .png images"
        )
    empty = [name for name, videos in found.items() if not videos]
    if empty:
        raise UserError(f"the folder {folder / empty[0]} holds no video; expected some for each class, or no folder")
    records = [
        VideoRecord(path=video, labels=(label,)) for label, videos in enumerate(found.values()) for video in videos
    ]
    return OwnVideos(records=records, class_names=tuple(found), ignored=ignored, unlisted=unlisted)


def _listable(path: str) -> bool:
    """Return whether a list can hold the path unchanged."""
    return flaw(path) in (None, "a line break") and path == path.strip()


def read_table(file: Path) -> OwnVideos:
    """Read videos from a CSV file with a header.

    Required columns are ``path`` and ``label``; ``num_frames``, ``group`` and ``fold`` are optional. Labels are
    numbers or names; ``;`` separates several. Names are numbered in alphabetical order, and numbers keep their value.
    Additional columns are kept.

    Raises:
        UserError: a column is missing, or a line is invalid.
    """
    rows: list[tuple[int, Row]] = []
    seen: dict[str, int] = {}
    for line, row in csv_rows(file, read_text(file, "table", limit=LIST_LIMIT), ("path", "label"), loose=True):
        if isinstance(row, ListError):
            raise row
        path = row["path"].strip()
        if not path or not row["label"].strip():
            raise ListError(file, line, f"expected {len(row)} values, with a path and a label")
        if spelled(path) in seen:
            text = f"{path!r} is on line {seen[spelled(path)]} already; remove one, or join their labels"
            raise ListError(file, line, text)
        seen[spelled(path)] = line
        rows.append((line, {**row, "path": path}))
    if not rows:
        raise UserError(f"{file} lists no video; expected at least one line after the header")
    given = [split_labels(row["label"]) for _, row in rows]
    numbers = all(number(text) is not None for labels in given for text in labels)
    beside = file.with_name("classes.txt")
    if numbers:
        occurring = {int(text) for labels in given for text in labels}
        count = 1 + max(occurring)
        if count > believable(len(occurring)):
            line = next(line for (line, _), labels in zip(rows, given, strict=True) if str(count - 1) in labels)
            raise ListError(file, line, f"the label is {count - 1}, but only {len(occurring)} labels occur; correct it")
        names = read_class_names(beside).names if beside.is_file() else tuple(map(str, range(count)))
        if len(names) < count:
            raise UserError(f"{beside} has {len(names)} names, but {file} has labels up to {count - 1}; add the names")
        labels_of = [[int(text) for text in labels] for labels in given]
    else:
        names = tuple(sorted({text for labels in given for text in labels}))
        if any(map(flaw, names)):
            wrong = next(filter(flaw, names))
            raise UserError(f"{file}: the label {wrong!r} contains {flaw(wrong)}; correct it")
        places = {name: label for label, name in enumerate(names)}
        labels_of = [[places[text] for text in labels] for labels in given]
    records = [
        VideoRecord(
            path=row["path"],
            video_frames=number(row.get("num_frames") or "0") or 0,
            labels=tuple(dict.fromkeys(labels)),
            extra={key: text for key, text in row.items() if key not in ("path", "label", "num_frames")},
        )
        for (_, row), labels in zip(rows, labels_of, strict=True)
    ]
    return OwnVideos(records=records, class_names=names)


def split_videos(
    videos: OwnVideos, *, val: float, seed: int, fold: str | None = None
) -> tuple[list[VideoRecord], list[VideoRecord]]:
    """Split videos into training and validation.

    With a fold column, one fold is validation. Otherwise the videos are divided into round(1 / ``val``) parts, one of
    which is validation. Every part has about the same share of each class (the first label counts), and groups are not
    divided. If all videos of a class fall into validation, one of its groups moves back to training.

    Args:
        videos: the videos to split.
        val: share of the validation videos, above 0 and at most a half.
        seed: seed of the division into parts.
        fold: value of the fold column that is validation; None for "val" or "validation", or else the first value.

    Raises:
        UserError: a value is out of range, the fold does not exist, or there are too few videos or groups to split.
    """
    records = videos.records
    chosen = validation_fold(videos, fold)
    if chosen is not None:
        return _divide(records, [record.extra.get("fold", "") == chosen for record in records])
    if not 0 < val <= 0.5:
        raise UserError(f"the share of validation videos is {val}; expected more than 0 and at most 0.5")
    from sklearn.model_selection import StratifiedGroupKFold

    groups = [record.extra.get("group") or f"\0{position}" for position, record in enumerate(records)]
    labels = np.array([record.labels[0] for record in records])
    parts = round(1 / max(val, 1e-9))  # no list is long enough for a smaller share
    if len(set(groups)) < 2:
        raise UserError(f"all {len(records)} videos are one group; expected two groups or more to split them")
    # A class with fewer videos than parts is absent from some parts, which cannot be avoided.
    parts = min(parts, len(set(groups)), max(Counter(labels.tolist()).values()))
    if parts < 2:
        raise UserError("no class has two videos; expected at least two of a class to split them")
    # The groups are shuffled here because scikit-learn up to 1.7 shuffles its counts of them but not the groups: seeds
    # then give equal parts, or classes get wrong shares. The order is the one that 1.8 draws.
    _, group_of = np.unique(groups, return_inverse=True)
    drawn = np.random.RandomState(seed & 0xFFFFFFFF).permutation(group_of.max() + 1)
    places = np.argsort(drawn)[group_of]
    with warnings.catch_warnings():
        # Classes with fewer videos than parts are handled below.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        _, positions = next(StratifiedGroupKFold(n_splits=parts).split(np.zeros(len(labels)), labels, places))
    in_val = np.zeros(len(records), dtype=bool)
    in_val[positions] = True
    for label in np.unique(labels[in_val]):
        members = np.flatnonzero(labels == label)
        if in_val[members].all():
            keep = groups[members[0]]
            in_val[[position for position, group in enumerate(groups) if group == keep]] = False
    if not in_val.any():
        raise UserError(f"{len(records)} videos are too few to give each class a training video and have one left over")
    return _divide(records, in_val.tolist())


def folds_of(videos: OwnVideos) -> list[str]:
    """Return the values of the column ``fold``, sorted, numbers by value; none without such a column."""
    folds = {record.extra.get("fold", "") for record in videos.records}
    return [] if folds == {""} else sorted(folds, key=lambda text: (number(text) or 0, text))


def validation_fold(videos: OwnVideos, fold: str | None = None) -> str | None:
    """Return the fold that is validation; None if the videos have no folds.

    Args:
        videos: the videos.
        fold: that fold; None for "val" or "validation", or else the first.

    Raises:
        UserError: there is no such fold, or only one.
    """
    folds = folds_of(videos)
    if not folds:
        if fold is not None:
            raise UserError(f"--fold is {fold!r}, but there is no column fold; expected a table with one")
        return None
    named = [each for each in folds if each in ("val", "validation")]
    chosen = [*named, *folds][0] if fold is None else fold
    if chosen not in folds:
        raise UserError(f"there is no fold {chosen!r}; the table has {', '.join(map(repr, folds))}")
    if len(folds) == 1:
        raise UserError(f"all videos are in the fold {chosen!r}; expected two folds or more in the column fold")
    return chosen


def _divide(records: Sequence[VideoRecord], in_val: Sequence[bool]) -> tuple[list[VideoRecord], list[VideoRecord]]:
    train = [record for record, chosen in zip(records, in_val, strict=True) if not chosen]
    return train, [record for record, chosen in zip(records, in_val, strict=True) if chosen]


def videos_in(folder: Path, ignored: Counter[str] | None = None) -> list[Path]:
    """Find video files, and folders of images below ``folder``, at any depth.

    Args:
        folder: the folder.
        ignored: counts the other files by suffix; changed.
    """
    found: list[Path] = []
    ignored = Counter() if ignored is None else ignored
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        # A link to a parent folder would recurse forever.
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        if real in seen:
            continue
        seen.add(real)
        visible = [Path(place) / name for name in sorted(files) if not name.startswith(".")]
        videos = [path for path in visible if path.suffix.lower() in VIDEO_SUFFIXES]
        images = [path for path in visible if path.suffix.lower() in IMAGE_SUFFIXES]
        found += videos
        frames = images if not videos and Path(place) != folder else []
        found += [Path(place)] if frames else []
        others = {*visible} - {*videos} - {*frames}
        ignored.update(path.suffix.lower() or "no ending" for path in others)
    return found
