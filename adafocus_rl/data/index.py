"""The index of videos: this package's own list file, its class names, and its true boxes.

The list file is CSV with a header. The columns ``path`` (absolute, or relative to the list's folder or another given
root) and ``label`` (an integer or a class name; ``;`` separates several) are required. ``num_frames`` is optional (0 or
empty means unknown; frames are then counted when the video is read). Other columns are kept as text. Two optional files
lie beside ``NAME.csv``: ``NAME_boxes.csv`` with the header ``path,frame,top,left,height,width`` holds the object's box
in pixels of the stored frame, one row per frame that shows it, and ``classes.txt`` holds one class name per line, in
the order of the labels.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import posixpath
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.data.csv_rows import csv_rows
from adafocus_rl.data.frame_names import image_names
from adafocus_rl.data.list_text import LIST_LIMIT, ListError, number
from adafocus_rl.errors import UserError
from adafocus_rl.files import read_text, write_text

BOX_COLUMNS = ("path", "frame", "top", "left", "height", "width")

MAX_BOXED_FRAMES = 100_000_000
"""Largest total number of frames in a list with boxes, which take 1.6 GB of memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoRecord:
    """One line of a list file."""

    path: str
    """A video file or a folder of frame images; relative to the index's root, with ``/``, or absolute."""
    video_frames: int = 0
    """Number of frames of the video; 0 if unknown."""
    labels: tuple[int, ...]
    """One or more classes of the video, without duplicates; methods with a single label use the first."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """Other columns of the list."""


@dataclass(frozen=True, kw_only=True)
class VideoIndex:
    """A list of videos with their annotations."""

    records: list[VideoRecord]
    """The videos, in the order of the list."""
    root: Path
    """Folder of relative paths."""
    class_names: tuple[str, ...] | None = None
    """Names of the classes in the order of the labels; None if not given."""
    boxes_file: Path | None = None
    """CSV file of true boxes, see ``read_boxes``; None if there is none."""
    template: str | None = None
    """Pattern of the names of frames in folders, as ``image_{:05d}.jpg``; None detects it for each folder."""
    notes: tuple[str, ...] = ()
    """Notes for the user on how the list was read: the order of classes, entries left out."""

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: int) -> VideoRecord:
        return self.records[i]

    def __iter__(self) -> Iterator[VideoRecord]:
        return iter(self.records)

    @property
    def num_classes(self) -> int:
        """K: the number of class names or, without names, one more than the largest label."""
        if self.class_names is not None:
            return len(self.class_names)
        return 1 + max(label for record in self.records for label in record.labels)

    def full_path(self, i: int) -> Path:
        """Path of the i-th video."""
        return self.root / self.records[i].path

    def groups(self, rows: Iterable[int]) -> list[str] | None:
        """Return the groups of videos, from the list's column ``group``; None if some of them have none.

        Videos of a group belong together: scenes, speakers.
        """
        groups = [self.records[row].extra.get("group", "") for row in rows]
        return groups if all(groups) else None

    def select(self, positions: Iterable[int]) -> VideoIndex:
        """Return an index of the videos at these rows, in this order, such as a fold."""
        return replace(self, records=[self.records[i] for i in positions])

    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of paths, frame counts, labels, extra columns (in order) and the template.

        The root is left out, so that moved data keeps its hash.
        """
        digest = hashlib.sha256()
        for record in self.records:
            row = [record.path, record.video_frames, list(record.labels), sorted(record.extra.items())]
            digest.update(json.dumps(row).encode() + b"\n")
        if self.template is not None:
            digest.update(self.template.encode())
        return digest.hexdigest()[:16]

    @classmethod
    def read(cls, list_file: Path, *, root: Path | None = None, classes: Path | None = None) -> VideoIndex:
        """Read a list file in the format of this module's docstring.

        Args:
            list_file: the CSV file.
            root: folder of relative paths; None for the list's own folder.
            classes: file of class names; None for ``classes.txt`` beside the list, if there is one.

        Raises:
            UserError: the file does not exist, has no videos, lacks a column, has an invalid value (the message gives
                its line), or lists a path twice.
        """
        # Imported here because the reader of lists imports this module.
        from adafocus_rl.data.read import read_index

        return read_index(list_file, root=root, classes=classes, format="csv")

    def write(self, list_file: Path) -> None:
        """Write a list file that ``read`` reads back equal; class names and boxes are separate files."""
        write_text(list_file, self.text())

    def text(self) -> str:
        """Return the text that ``write`` writes."""
        extra = sorted({key for record in self.records for key in record.extra})
        content = io.StringIO()
        # The writer does not quote a carriage return, which the reader takes for the end of the line.
        bare = any("\r" in text for record in self.records for text in (record.path, *record.extra.values()))
        writer = csv.writer(content, lineterminator="\n", quoting=csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL)
        writer.writerow(["path", "label", "num_frames", *extra])
        for record in self.records:
            labels = ";".join(str(label) for label in record.labels)
            values = [record.extra.get(key, "") for key in extra]
            writer.writerow([record.path, labels, record.video_frames, *values])
        return content.getvalue()


def read_boxes(index: VideoIndex) -> dict[str, NDArray[np.float32]]:
    """Read the true boxes of an index.

    Returns:
        For each listed path, an array (n, 4) of [top, left, height, width] in pixels of the stored frame, NaN where the
        object is absent. n is the number of frames of the video or, if unknown, the number up to the last box. Empty if
        the index has no boxes.

    Raises:
        UserError: a column is missing, or a number is invalid or names a frame that the video lacks (the message gives
            its line).
    """
    if index.boxes_file is None:
        return {}
    counts = {record.path: record.video_frames for record in index.records}
    found: dict[str, dict[int, list[float]]] = {path: {} for path in counts}
    for line, row in csv_rows(
        index.boxes_file, read_text(index.boxes_file, "file of boxes", limit=LIST_LIMIT), BOX_COLUMNS
    ):
        if isinstance(row, ListError):
            raise row
        path = row["path"]
        if path not in counts:
            continue  # the index may be a selection of the list to which the boxes belong
        where = f"{index.boxes_file}, line {line}"
        frame = _integer(row["frame"], "frame", index.boxes_file, line)
        if counts[path] and frame >= counts[path]:
            raise UserError(
                f"{where}: frame {frame} of {path!r}, which has {counts[path]} frames according to the list; "
                "correct one of the two files"
            )
        if frame >= MAX_BOXED_FRAMES:
            raise UserError(f"{where}: frame {frame} is beyond what a video can hold; correct it")
        found[path][frame] = [_finite(row[name], name, where) for name in BOX_COLUMNS[2:]]
    sizes = {path: counts[path] or max(rows, default=-1) + 1 for path, rows in found.items()}
    if sum(sizes.values()) > MAX_BOXED_FRAMES:
        longest = max(sizes, key=lambda path: sizes[path])
        raise UserError(
            f"{index.boxes_file}: the videos have {sum(sizes.values())} frames in all, {longest!r} {sizes[longest]}; "
            f"expected at most {MAX_BOXED_FRAMES}, so correct its number of frames, or the last of its boxes"
        )
    boxes: dict[str, NDArray[np.float32]] = {}
    for path, rows in found.items():
        array = np.full((sizes[path], 4), np.nan, dtype=np.float32)
        if rows:
            array[list(rows)] = list(rows.values())
        boxes[path] = array
    return boxes


def missing(index: VideoIndex) -> list[tuple[str, str]]:
    """List missing videos as (path, reason); only the file system is checked, nothing is decoded."""
    reasons = ((index.records[i].path, absence(index.full_path(i))) for i in range(len(index)))
    return [(path, reason) for path, reason in reasons if reason is not None]


def absence(path: Path) -> str | None:
    """Explain why there is no video at ``path``; None for a non-empty file or a folder of images."""
    try:
        kind = path.stat()
        if stat.S_ISDIR(kind.st_mode):
            return None if image_names(path) else "the folder holds no .jpg or .png image"
    except (FileNotFoundError, NotADirectoryError):
        return "no such file or folder"
    except (OSError, ValueError) as error:  # a name too long or with NUL, circular links, no permission
        return f"it cannot be read ({getattr(error, 'strerror', None) or error})"
    if not stat.S_ISREG(kind.st_mode):
        return "it is a pipe, a socket or a device, not a file or a folder of frames"
    return None if kind.st_size else "the file is empty (0 bytes)"


def unique(list_file: Path, lines: Iterable[tuple[int, VideoRecord | ListError]]) -> Iterator[VideoRecord]:
    """Yield the records of the lines and check that paths are unique.

    Raises:
        ListError: the first mistake, or a path that an earlier line has.
    """
    seen: dict[str, int] = {}
    for line, record in lines:
        if isinstance(record, ListError):
            raise record
        if spelled(record.path) in seen:
            raise ListError(
                list_file,
                line,
                f"{record.path!r} is already on line {seen[spelled(record.path)]}; expected every video once, so join "
                "its labels on one line",
            )
        seen[spelled(record.path)] = line
        yield record


def spelled(path: str) -> str:
    """Normalise the spelling of a path: ``a/../b.mp4`` becomes ``b.mp4``."""
    return posixpath.normpath(path) if "." in path.split("/") or ".." in path or "//" in path else path


def _integer(text: str, column: str, file: Path, line: int) -> int:
    value = number(text)
    if value is None:
        raise ListError(file, line, f"{column} is {text!r}; expected an integer of 0 or more")
    return value


def _finite(text: str, column: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where}: {column} is {text!r}; expected a number of pixels")
    return value
