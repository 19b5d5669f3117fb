"""From a list file in any known format to a `VideoIndex`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adafocus_rl.data.class_names import ClassNames, find_class_files, read_class_names, sorted_names
from adafocus_rl.data.formats import ListFormat, ListLine, detect_format, read_comma, read_semicolon, read_space
from adafocus_rl.data.frame_names import parse_template
from adafocus_rl.data.index import VideoIndex, VideoRecord, csv_records, unique
from adafocus_rl.data.list_text import ListError
from adafocus_rl.data.locate import Locator
from adafocus_rl.data.raw_annotations import Split, names_in, read_activitynet, read_something
from adafocus_rl.errors import UserError
from adafocus_rl.files import read_text


@dataclass(frozen=True, kw_only=True)
class ListContent:
    """All lines of a list, the good and the bad."""

    lines: list[tuple[int, VideoRecord | ListError]]
    """(line number, video or what is wrong) in the order of the list."""
    format: ListFormat
    """The format, never ``auto``."""
    root: Path
    """Folder of relative paths."""
    classes: ClassNames | None
    """Names of the classes; None when no file gives them."""
    notes: tuple[str, ...]
    """As `VideoIndex.notes`."""

    def index(self, list_file: Path, records: Sequence[VideoRecord], template: str | None = None) -> VideoIndex:
        """An index of some of the lines."""
        boxes = list_file.with_name(f"{list_file.stem}_boxes.csv")
        return VideoIndex(
            records=list(records),
            root=self.root,
            class_names=self.classes.names if self.classes else None,
            boxes=boxes if boxes.is_file() else None,
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
) -> VideoIndex:
    """The videos of a list file.

    Args:
        list_file: the list; unpacked if its name ends in ``.gz``.
        root: folder of relative paths; None for the list's own.
        classes: file of class names, see `adafocus_rl.data.class_names`; None for the one beside the list.
        format: see `adafocus_rl.data.formats`; ``auto`` detects it.
        template: names of frames in folders, as ``image_{:05d}.jpg``; None when each folder tells.
        split: which subset of annotations that hold several; None for all.

    Raises:
        UserError: no such file, none of the formats, no video, or the first mistake with its line.
    """
    list_file = Path(list_file)
    if template is not None:
        parse_template(template)
    content = read_list(list_file, root=root, classes=classes, format=format, split=split)
    records = list(unique(list_file, content.lines))
    if not records:
        raise UserError(f"{list_file} lists no video; expected at least one")
    return content.index(list_file, records, template)


def read_list(
    list_file: Path,
    *,
    root: Path | None = None,
    classes: Path | None = None,
    format: ListFormat = "auto",
    split: Split | None = None,
) -> ListContent:
    """All lines of a list file, mistakes among them; the arguments are `read_index`'s.

    Raises:
        UserError: the file as a whole cannot be read.
    """
    root = Path(root) if root is not None else list_file.parent
    text = read_text(list_file, "list file")
    chosen = detect_format(list_file, text) if format == "auto" else format
    if chosen == "csv":
        beside = list_file.with_name("classes.txt")
        file = classes if classes is not None else (beside if beside.is_file() else None)
        names = read_class_names(file) if file is not None else None
        return ListContent(lines=list(csv_records(list_file)), format="csv", root=root, classes=names, notes=())
    locator = Locator(root)
    lines, all_names = _lines(list_file, text, chosen, split, locator)
    files = [classes] if classes is not None else find_class_files(list_file)
    found = [read_class_names(file) for file in files]
    if not found and all_names:
        found = [sorted_names(all_names, str(list_file))]
    known = found[0] if found else None
    notes = [f"{list_file}: {known.note(found[1:])}"] if known else []
    records = [_record(list_file, line, known, locator) for line in lines]
    return ListContent(lines=records, format=chosen, root=root, classes=known, notes=tuple(notes))


def _lines(
    path: Path, text: str, format: ListFormat, split: Split | None, locator: Locator
) -> tuple[list[ListLine | ListError], list[str]]:
    """The lines, and all class names that the file knows."""
    if format == "activitynet_json":
        return read_activitynet(path, text, split)
    if format == "something_json":
        return read_something(path, text)
    if format == "comma":
        lines = list(read_comma(path, text))
    elif format == "semicolon":
        lines = list(read_semicolon(path, text))
    else:
        lines = list(read_space(path, text, lambda name: locator.find(name) is not None))
    return lines, list(names_in(lines))


def _record(
    path: Path, line: ListLine | ListError, classes: ClassNames | None, locator: Locator
) -> tuple[int, VideoRecord | ListError]:
    if isinstance(line, ListError):
        return line.line, line
    labels: list[int] = []
    for given in line.labels:
        if isinstance(given, int):
            labels.append(given)
            continue
        assert classes is not None  # names among the labels bring an order with them
        label = classes.label(given)
        if label is None:
            return line.line, ListError(path, line.line, classes.unknown(given))
        labels.append(label)
    name = classes.names[labels[0]] if classes and labels[0] < len(classes.names) else None
    found = locator.find(line.name, name)
    # A name that is nowhere stays as listed: whoever looks for the file says so.
    return line.line, VideoRecord(
        path=line.name if found is None else found, num_frames=line.num_frames, labels=tuple(dict.fromkeys(labels))
    )
