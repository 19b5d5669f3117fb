"""List files in the formats in circulation: detection of the format, and parsing line by line.

| format | line | lists of |
|---|---|---|
| ``csv`` | header ``path,label[,num_frames][,…]``, or with ``;`` or tabs | our own, see ``adafocus_rl.data.index`` |
| ``comma`` | ``id,frames,label[,label…]``, a label per annotated segment | ActivityNet, FCVID |
| ``space`` | ``path frames label [label…]`` or ``path label`` | Mini-Kinetics, Something-Something, Jester |
| ``semicolon`` | ``path;frames;label`` or ``id;class name`` | Jester and Something-Something V1 raw, Mini-Kinetics |
| ``activitynet_json`` | ``{"database": {id: {"subset", "annotations": [{"label", "segment"}]}}}`` | ActivityNet raw |
| ``something_json`` | ``[{"id", "template", …}]``, brackets in the template | Something-Something V2 raw |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from adafocus_rl.data.csv_rows import Row, csv_rows, header_delimiter
from adafocus_rl.data.list_text import (
    MAX_CLASSES,
    MAX_LINE,
    ListError,
    label,
    lines_of,
    number,
    split_labels,
    with_newlines,
)
from adafocus_rl.errors import UserError

ListFormat = Literal["auto", "csv", "comma", "space", "semicolon", "activitynet_json", "something_json"]
"""Formats that ``adafocus_rl.data.read.read_index`` reads; ``auto`` detects the format."""

SAMPLE = 50
"""Number of lines that detection reads."""

_PATH_WORDS = {"path", "paths", "file", "files", "filename", "file_name", "video", "videos", "name", "id", "clip"}
_LABEL_WORDS = {"label", "labels", "class", "classes", "category", "class_name", "label_name", "target"}
"""Words of foreign headers; a list whose first line has none of them is taken for one without a header."""

NO_PATH = "the path is empty; expected a video file or a folder of frames"
_NO_COUNT = "the number of frames is {!r}; expected an integer of 0 or more"


@dataclass(frozen=True, kw_only=True, slots=True)
class ListLine:
    """One video as given by a list."""

    line: int
    """Line number, from 1; in JSON, number of the entry."""
    name: str
    """Path or id."""
    video_frames: int = 0
    """Number of frames of the video; 0 if the list does not say."""
    labels: tuple[int | str, ...]
    """Classes as numbers or as names, without duplicates."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """Additional columns."""


def detect_format(path: Path, text: str) -> ListFormat:
    """Detect the format of a list file.

    Args:
        path: the file; its suffix is used, and its name in messages.
        text: its content.

    Raises:
        UserError: the format is unknown; the message shows the first line.
    """
    start = text.lstrip()
    if start[:1] in ("{", "["):
        return "activitynet_json" if start[0] == "{" else "something_json"
    lines = _first_lines(text)
    if not lines or has_header(path, text) or {"path", "label"} & {name.strip() for name in lines[0].split(",")}:
        return "csv"
    shapes: dict[ListFormat, str] = {
        "comma": r"[^,]+,\s*-?\d+\s*(,\s*-?\d+\s*)+[, ]*",
        "semicolon": r"[^;]+;[^;]+(;\s*-?\d+)?[; ]*",
        "space": r"\S.*\s-?\d+",
    }
    # The majority decides, because a list may have a few bad lines.
    fits = {form: sum(bool(re.fullmatch(shape, line)) for line in lines) for form, shape in shapes.items()}
    best = max(fits, key=lambda form: fits[form])
    if 2 * fits[best] > len(lines):
        return best
    if path.suffix == ".csv":
        return "csv"
    raise UserError(
        f"{path} has none of the known list formats (its first line is {lines[0][:80]!r}); expected path,label with a "
        "header, 'id,frames,label', 'path frames label', 'id;class name', or one of the annotation files of "
        "docs/datasets.md; name the format with --data.format if it is one of them"
    )


def has_header(path: Path, text: str) -> bool:
    """Return whether the first line is a header of this package's own format, with any delimiter.

    Raises:
        UserError: the first line is a header with other column names.
    """
    first = next(iter(_first_lines(text)), "")
    if re.fullmatch(r"sep=[,;\t]", first) or header_delimiter(first, ("path", "label")):
        return True
    words = [word.strip().casefold() for word in re.split("[;\t]", first)]
    if len(words) > 1 and words[0] in _PATH_WORDS and {*words[1:]} & _LABEL_WORDS:
        raise UserError(
            f"{path}, line 1: {first!r} looks like a header; name its columns path and label (and num_frames), or "
            "remove the line"
        )
    return False


def _first_lines(text: str) -> list[str]:
    """Return the first non-empty lines."""
    head = with_newlines(text[: (SAMPLE + 1) * MAX_LINE]).split("\n", SAMPLE + 1)[: SAMPLE + 1]
    return [line.strip() for line in head if line.strip()]


def read_comma(path: Path, text: str) -> Iterator[ListLine | ListError]:
    """Read lines ``id,frames,label[,label…]``, as in ActivityNet and FCVID."""

    def parse(line: int, content: str) -> ListLine:
        name, *numbers = content.rstrip(", ").split(",")
        if len(numbers) < 2:
            raise ListError(path, line, f"{content!r} has {len(numbers) + 1} values; expected id,frames,label")
        return _line(path, line, name, numbers[0], numbers[1:])

    return _each(path, text, parse)


def read_semicolon(path: Path, text: str) -> Iterator[ListLine | ListError]:
    """Read lines ``path;frames;label``, or ``id;name of the class`` as in Jester and Something-Something V1."""

    def parse(line: int, content: str) -> ListLine:
        values = [value.strip() for value in content.rstrip("; ").split(";")]
        if len(values) == 2 and all(values):
            return ListLine(line=line, name=values[0], labels=(_label(path, line, values[1]),))
        if len(values) != 3:
            raise ListError(
                path,
                line,
                f"{content!r} gives no class; expected id;class or path;frames;label (a published test split has no "
                "classes, so take the validation split)",
            )
        return _line(path, line, values[0], values[1], values[2:])

    return _each(path, text, parse)


def read_space(path: Path, text: str, exists: Callable[[str], bool]) -> Iterator[ListLine | ListError]:
    """Read lines ``path frames label [label…]`` or ``path label``, from the right because paths contain spaces.

    Three or more numbers at the end of a line may be several labels, or a path that ends in a number. The path that
    exists on disk decides; if neither exists, a path without a space has several labels.
    """

    def parse(line: int, content: str) -> ListLine:
        words = content.split()
        run = 0
        while run < len(words) - 1 and number(words[-1 - run]) is not None:
            run += 1
        if run == 0:
            raise ListError(path, line, f"the label is {words[-1]!r}; expected 'path frames label', numbers from 0")
        # The line is cut, not split and joined, so that the spaces in a path are kept.
        cut = re.compile(r"\s+").split
        if run == 1:
            name = content.rsplit(None, 1)[0]
            if re.fullmatch(r"-\d+", words[-2]) and len(words) > 2:
                raise ListError(path, line, _NO_COUNT.format(words[-2]))
            return ListLine(line=line, name=name, labels=_labels(path, line, [words[-1]]))
        one_label = content.rsplit(None, 2)
        if run == 2:
            return _line(path, line, one_label[0], one_label[1], one_label[2:])
        several = content.rsplit(None, run)
        by_disk = [split for split in (several, one_label) if exists(split[0])]
        chosen = by_disk[0] if by_disk else (several if len(cut(several[0])) == 1 else one_label)
        return _line(path, line, chosen[0], chosen[1], chosen[2:])

    return _each(path, text, parse)


def read_csv(path: Path, text: str) -> Iterator[ListLine | ListError]:
    """Read this package's own format: a header with ``path`` and ``label``; ``;`` separates several labels."""

    def parse(line: int, row: Row) -> ListLine:
        name = row["path"].strip()
        if not name:
            raise ListError(path, line, NO_PATH)
        labels = [_label(path, line, text, "label is {!r}") for text in split_labels(row["label"])]
        count = number(row.get("num_frames") or "0")
        if count is None:
            raise ListError(path, line, f"num_frames is {row['num_frames']!r}; expected an integer of 0 or more")
        extra = {key: value for key, value in row.items() if key not in ("path", "label", "num_frames")}
        return ListLine(line=line, name=name, video_frames=count, labels=tuple(dict.fromkeys(labels)), extra=extra)

    for line, row in csv_rows(path, text, ("path", "label")):
        try:
            yield row if isinstance(row, ListError) else parse(line, row)
        except ListError as mistake:
            yield mistake


def _each(path: Path, text: str, parse: Callable[[int, str], ListLine]) -> Iterator[ListLine | ListError]:
    for line, content in lines_of(path, text):
        try:
            yield content if isinstance(content, ListError) else parse(line, content)
        except ListError as mistake:
            yield mistake


def _line(path: Path, line: int, name: str, frames: str, labels: list[str]) -> ListLine:
    count = number(frames)
    if not name.strip():
        raise ListError(path, line, NO_PATH)
    if count is None:
        raise ListError(path, line, _NO_COUNT.format(frames.strip()))
    return ListLine(line=line, name=name.strip(), video_frames=count, labels=_labels(path, line, labels))


def _labels(path: Path, line: int, texts: list[str]) -> tuple[int, ...]:
    """Parse the labels of formats that have numbers only."""
    found = []
    for text in texts:
        value = number(text)
        if value is None or value >= MAX_CLASSES:
            raise _no_label(path, line, text)
        found.append(value)
    return tuple(dict.fromkeys(found))


def _label(path: Path, line: int, text: str, what: str = "the label is {!r}") -> int | str:
    """Parse a label of formats that have numbers or names."""
    value = label(text)
    if value is None:
        raise _no_label(path, line, text, what)
    return value


def _no_label(path: Path, line: int, text: str, what: str = "the label is {!r}") -> ListError:
    expected = "an integer of 0 or more"
    value = number(text)
    if value is not None or (text.strip().isdigit() and text.isascii()):
        expected = f"less than {MAX_CLASSES}"
    return ListError(path, line, f"{what.format(text.strip())}; expected {expected}")
