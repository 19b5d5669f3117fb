"""A single list file: its lines with their own labels, and the files of class names beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from adafocus_rl.data.class_names import ClassNames, find_class_files, read_class_names, sorted_names
from adafocus_rl.data.formats import (
    ListFormat,
    ListLine,
    detect_format,
    has_header,
    read_comma,
    read_csv,
    read_semicolon,
    read_space,
)
from adafocus_rl.data.list_text import LIST_LIMIT, ListError
from adafocus_rl.data.locate import Locator
from adafocus_rl.data.raw_annotations import Split, names_in, read_activitynet, read_something
from adafocus_rl.files import read_text


@dataclass(frozen=True, kw_only=True)
class RawList:
    """Content of a list file, before its classes are mapped to the order of a run."""

    file: Path
    """The list file."""
    format: ListFormat
    """Its format, never ``auto``."""
    lines: Sequence[ListLine | ListError]
    """Videos with their original labels, either all numbers or all names, and mistakes."""
    names: Sequence[str]
    """All class names in the list; empty if its labels are numbers."""
    files: Sequence[ClassNames]
    """Class names from the files beside the list; the first is the one to use."""

    @property
    def named(self) -> bool:
        """Whether the labels are names."""
        return bool(self.names)

    @property
    def order(self) -> ClassNames | None:
        """The list's own order of classes: that of a file, else its sorted names; None for numbers without names."""
        if self.files:
            return self.files[0]
        return sorted_names(self.names, str(self.file)) if self.named else None


def read_raw(
    file: Path,
    *,
    classes: Path | None = None,
    format: ListFormat = "auto",
    split: Split | None = None,
    locator: Locator,
    others: Collection[Path] = (),
) -> RawList:
    """Read a list file.

    Args:
        file: the list; decompressed if its name ends in ``.gz``.
        classes: file of class names; None for those beside the list.
        format: format of the list; ``auto`` detects it.
        split: subset to read from annotations with several; None for all.
        locator: finds videos on disk, which decides how a line of the format ``space`` is parsed.
        others: other list files, which are not taken for files of class names whatever their names.

    Raises:
        UserError: the file cannot be read at all.
    """
    text = read_text(file, "list file", limit=LIST_LIMIT)
    chosen = detect_format(file, text) if format == "auto" else format
    if chosen == "semicolon" and has_header(file, text):
        chosen = "csv"
    if classes is not None:
        found = [classes]
    elif chosen == "csv":
        beside = file.with_name("classes.txt")
        found = [beside] if beside.is_file() else []
    else:
        found = [path for path in find_class_files(file) if path not in others]
    names: list[str] = []
    if chosen == "activitynet_json":
        lines, names = read_activitynet(file, text, split)
    elif chosen == "something_json":
        lines, names = read_something(file, text)
    elif chosen == "comma":
        lines = list(read_comma(file, text))
    elif chosen == "space":
        lines = list(read_space(file, text, lambda name: locator.find(name) is not None))
    else:
        lines = _of_one_kind(file, list(read_csv(file, text) if chosen == "csv" else read_semicolon(file, text)))
        names = list(names_in(lines))
    return RawList(file=file, format=chosen, lines=lines, names=names, files=[read_class_names(path) for path in found])


def _of_one_kind(file: Path, lines: list[ListLine | ListError]) -> list[ListLine | ListError]:
    """Make the labels of one kind: if most are names, numbers become names; otherwise names become mistakes."""
    labels = [label for line in lines if isinstance(line, ListLine) for label in line.labels]
    named = sum(isinstance(label, str) for label in labels)
    if not named:
        return lines
    kept: list[ListLine | ListError] = []
    for line in lines:
        if isinstance(line, ListError):
            kept.append(line)
        elif 2 * named > len(labels):
            kept.append(dataclasses.replace(line, labels=tuple(dict.fromkeys(map(str, line.labels)))))
        elif word := next((label for label in line.labels if isinstance(label, str)), None):
            text = f"label is {word!r}; expected an integer of 0 or more, as on most lines"
            kept.append(ListError(file, line.line, text))
        else:
            kept.append(line)
    return kept
