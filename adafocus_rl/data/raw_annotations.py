"""Annotation files as datasets publish them: names of classes instead of labels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from adafocus_rl.data.formats import ListLine
from adafocus_rl.data.list_text import ListError
from adafocus_rl.errors import UserError

Split = Literal["train", "val"]

SUBSETS = {"train": "training", "val": "validation"}
"""ActivityNet's names of the splits."""


def read_activitynet(path: Path, text: str, split: Split | None) -> tuple[list[ListLine | ListError], list[str]]:
    """``{"database": {id: {"subset": …, "annotations": [{"label": …, "segment": […]}]}}}``, or the database alone.

    Args:
        path: for messages.
        text: the file's content.
        split: which subset; None for all videos with a label. Files without subsets have one: all.

    Returns:
        The videos of the split that are annotated, and all class names of the file, of all subsets.

    Raises:
        UserError: JSON of another shape, or nobody is in the split.
    """
    content = _parse(path, text)
    database = content.get("database", content) if isinstance(content, dict) else None
    if not isinstance(database, dict) or not all(isinstance(entry, dict) for entry in database.values()):
        raise UserError(f'{path} is JSON of another shape; expected ActivityNet\'s {{"database": {{id: …}}}}')
    has_subsets = any("subset" in entry for entry in database.values())
    lines: list[ListLine | ListError] = []
    names: list[str] = []
    for position, (name, entry) in enumerate(database.items(), start=1):
        labels = tuple(dict.fromkeys(str(segment["label"]) for segment in entry.get("annotations") or ()))
        names += labels
        wanted = split is None or not has_subsets or entry.get("subset") == SUBSETS[split]
        if wanted and labels:  # the test subset has no annotations
            lines.append(ListLine(line=position, name=name, labels=labels))
    if not lines:
        raise UserError(
            f"{path} has no annotated video" + (f" of the subset {SUBSETS[split]!r}" if split and has_subsets else "")
        )
    return lines, names


def read_something(path: Path, text: str) -> tuple[list[ListLine | ListError], list[str]]:
    """``[{"id": "78687", "label": …, "template": "Putting [something] on [something]", …}]``.

    Returns:
        The videos, and their class names without brackets.

    Raises:
        UserError: JSON of another shape.
    """
    content = _parse(path, text)
    if not isinstance(content, list) or not all(isinstance(entry, dict) and "id" in entry for entry in content):
        raise UserError(f'{path} is JSON of another shape; expected Something-Something\'s [{{"id", "template", …}}]')
    lines: list[ListLine | ListError] = []
    for position, entry in enumerate(content, start=1):
        if "template" in entry:
            name = str(entry["template"]).replace("[", "").replace("]", "")
            lines.append(ListLine(line=position, name=str(entry["id"]), labels=(name,)))
        else:
            lines.append(
                ListError(
                    path,
                    position,
                    f"the video {entry['id']} has no template, and so no class; a published test split has none, so "
                    "take the validation split",
                )
            )
    return lines, [str(label) for line in lines if isinstance(line, ListLine) for label in line.labels]


def _parse(path: Path, text: str) -> dict[str, Any] | list[Mapping[str, Any]]:
    try:
        content: dict[str, Any] | list[Mapping[str, Any]] = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path} begins like JSON and is none ({error}); is it complete?") from None
    return content


def names_in(lines: Iterable[ListLine | ListError]) -> Iterator[str]:
    """The class names among the labels of the lines."""
    for line in lines:
        if isinstance(line, ListLine):
            yield from (label for label in line.labels if isinstance(label, str))
