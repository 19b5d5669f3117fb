"""Reading of list files in any known format to ``VideoIndex`` objects with one order of classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from adafocus_rl.data.class_names import ClassNames, read_class_names
from adafocus_rl.data.class_order import ClassOrder, first_order, order_after
from adafocus_rl.data.formats import NO_PATH, ListFormat, ListLine
from adafocus_rl.data.frame_names import parse_template
from adafocus_rl.data.index import VideoIndex, VideoRecord, unique
from adafocus_rl.data.list_text import ListError, believable, flaw
from adafocus_rl.data.locate import Locator
from adafocus_rl.data.raw_annotations import Split
from adafocus_rl.data.raw_list import RawList, read_raw
from adafocus_rl.errors import UserError

K = TypeVar("K", bound=str)
"""Names of splits."""


@dataclass(frozen=True, kw_only=True)
class ListContent:
    """All lines of a list, valid or not."""

    lines: list[tuple[int, VideoRecord | ListError]]
    """(line number, video or mistake) in the order of the list."""
    format: ListFormat
    """The format, never ``auto``."""
    root: Path
    """Folder of relative paths."""
    classes: ClassNames | None
    """Names of the classes; None if no file gives them."""
    notes: tuple[str, ...]
    """Like ``VideoIndex.notes``."""
    conflict: str | None = None
    """Why the labels cannot be mapped to the order of the run; None if they can."""

    def index(self, list_file: Path, records: Sequence[VideoRecord], template: str | None = None) -> VideoIndex:
        """Create an index of some of the lines."""
        boxes = list_file.with_name(f"{list_file.stem}_boxes.csv")
        return VideoIndex(
            records=list(records),
            root=self.root,
            class_names=self.classes.names if self.classes else None,
            boxes_file=boxes if boxes.is_file() else None,
            template=template,
            notes=self.notes,
        )


def read_index(
    list_file: Path,
    *,
    root: Path | None = None,
    classes: Path | None = None,
    format: ListFormat = "auto",
    template: str | None = None,
    split: Split | None = None,
    order: Path | None = None,
) -> VideoIndex:
    """Read the videos of one list file.

    Args:
        list_file: the list; decompressed if its name ends in ``.gz``.
        root: folder of relative paths; None for the list's own folder.
        classes: file of class names, see ``adafocus_rl.data.class_names``; None for the one beside the list.
        format: see ``adafocus_rl.data.formats``; ``auto`` detects it.
        template: pattern of the names of frames in folders, as ``image_{:05d}.jpg``; None detects it for each folder.
        split: subset to read from annotations with several; None for all.
        order: file of class names that defines the order of labels, like that of a training list; None for any order.

    Raises:
        UserError: the file does not exist, has an unknown format, no videos or a mistake (the message gives the line of
            the first), or its classes contradict ``order``.
    """
    if template is not None:
        parse_template(template)
    content = read_list(Path(list_file), root=root, classes=classes, format=format, split=split, order=order)
    return _index(Path(list_file), content, template)


def read_indices(
    files: Mapping[K, Path],
    *,
    root: Path | None = None,
    classes: Path | None = None,
    format: ListFormat = "auto",
    template: str | None = None,
    num_classes: int = 0,
) -> dict[K, VideoIndex]:
    """Read the videos of all lists of a run, with the classes in the order of the first list.

    Args:
        files: the lists by split: "train" first, "val", and optionally "stills".
        root: as in ``read_index``, for all lists; so are ``classes``, ``format`` and ``template``.
        classes: file of class names.
        format: format of the lists.
        template: pattern of the names of frames in folders.
        num_classes: K; 0 counts the classes.

    Raises:
        UserError: as in ``read_index``, or the classes of a list cannot be mapped to the order of the first one.
    """
    if template is not None:
        parse_template(template)
    contents = read_lists(files, root=root, classes=classes, format=format, num_classes=num_classes)
    return {split: _index(files[split], content, template) for split, content in contents.items()}


def read_list(
    list_file: Path,
    *,
    root: Path | None = None,
    classes: Path | None = None,
    format: ListFormat = "auto",
    split: Split | None = None,
    order: Path | None = None,
) -> ListContent:
    """Read all lines of one list file, including mistakes; the arguments are those of ``read_index``.

    Raises:
        UserError: the file cannot be read at all.
    """
    locator = Locator(Path(root) if root is not None else list_file.parent)
    raw = read_raw(list_file, classes=classes, format=format, split=split, locator=locator)
    if order is None:
        return _content(first_order(raw), locator, bounded=True)
    first = RawList(file=order, format="csv", lines=[], names=[], files=[read_class_names(order)])
    return _content(order_after(first, raw), locator, bounded=False)


def read_lists(
    files: Mapping[K, Path],
    *,
    root: Path | None = None,
    classes: Path | None = None,
    format: ListFormat = "auto",
    num_classes: int = 0,
) -> dict[K, ListContent]:
    """Read all lines of all lists of a run, including mistakes; the arguments are those of ``read_indices``.

    Raises:
        UserError: a file cannot be read at all.
    """
    contents: dict[K, ListContent] = {}
    first: RawList | None = None
    for split, file in files.items():
        locator = Locator(Path(root) if root is not None else file.parent)
        subset: Split | None = "val" if split == "val" else "train" if split == "train" else None
        raw = read_raw(file, classes=classes, format=format, split=subset, locator=locator, others={*files.values()})
        order = first_order(raw) if first is None else order_after(first, raw)
        contents[split] = _content(order, locator, bounded=first is None and not num_classes)
        first = first or raw
    return contents


def _index(file: Path, content: ListContent, template: str | None) -> VideoIndex:
    if content.conflict is not None:
        raise UserError(content.conflict)
    records = list(unique(file, content.lines))
    if not records:
        raise UserError(f"{file} lists no video; expected at least one")
    return content.index(file, records, template)


def _content(order: ClassOrder, locator: Locator, *, bounded: bool) -> ListContent:
    raw = order.raw
    lines = _bounded(raw) if bounded and order.classes is None else raw.lines
    says = order.classes is not None and (raw.format != "csv" or raw.named)
    return ListContent(
        lines=list(_records(order, lines, locator)),
        format=raw.format,
        root=locator.root,
        classes=order.classes,
        notes=(f"{raw.file}: {order.classes.note(raw.files)}",) if says and order.classes else (),
        conflict=order.conflict,
    )


def _bounded(raw: RawList) -> list[ListLine | ListError]:
    """Return the lines, with a mistake for each line whose label implies an implausible number of classes."""
    occurring = {label for line in raw.lines if isinstance(line, ListLine) for label in line.labels}
    most = believable(len(occurring))
    lines: list[ListLine | ListError] = []
    for line in raw.lines:
        labels = [] if isinstance(line, ListError) else [label for label in line.labels if isinstance(label, int)]
        if max(labels, default=0) < most:
            lines.append(line)
            continue
        text = (
            f"the label is {max(labels)}, but only {len(occurring)} labels occur; correct it, or give the number of "
            "classes with model.num_classes, or a file of their names"
        )
        lines.append(ListError(raw.file, line.line, text))
    return lines


def _records(
    order: ClassOrder, lines: Iterable[ListLine | ListError], locator: Locator
) -> Iterator[tuple[int, VideoRecord | ListError]]:
    for line in lines:
        try:
            yield line.line, line if isinstance(line, ListError) else _record(order, line, locator)
        except ListError as mistake:
            yield line.line, mistake


def _record(order: ClassOrder, line: ListLine, locator: Locator) -> VideoRecord:
    raw, classes = order.raw, order.classes
    labels = order.labels(line)
    if not line.name.strip():
        raise ListError(raw.file, line.line, NO_PATH)
    wrong = flaw(line.name)
    if wrong is not None and wrong != "a line break":  # a quoted path may contain a line break
        raise ListError(raw.file, line.line, f"the path {line.name!r} contains {wrong}; rename the video")
    if raw.format == "csv":
        found = locator.plain(line.name)
    else:
        name = classes.names[labels[0]] if classes and labels[0] < len(classes.names) else None
        # The name of a missing video stays as listed; reading the file reports the error.
        found = locator.find(line.name, name) or line.name
    return VideoRecord(path=found, video_frames=line.video_frames, labels=labels, extra=line.extra)
