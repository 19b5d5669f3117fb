"""Annotation files as published by datasets, with class names instead of labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from adafocus_rl.data.formats import ListLine
from adafocus_rl.data.list_text import ListError, flaw
from adafocus_rl.errors import UserError
from adafocus_rl.files import JSON_LIMIT, parse_json

Split = Literal["train", "val"]

SUBSETS = {"train": "training", "val": "validation"}
"""ActivityNet's names of the splits."""


def read_activitynet(path: Path, text: str, split: Split | None) -> tuple[list[ListLine | ListError], list[str]]:
    """Read ``{"database": {id: {"subset": …, "annotations": [{"label": …, "segment": […]}]}}}``, or the database alone.

    Args:
        path: the file, for messages.
        text: its content.
        split: subset to read; None for all annotated videos. In files without subsets, all videos are in every split.

    Returns:
        The annotated videos of the split, and the class names of all subsets.

    Raises:
        UserError: the JSON has another shape, or the split is empty.
    """
    content = _parse(path, text)
    database = content.get("database", content) if isinstance(content, dict) else None
    if not isinstance(database, dict) or not all(isinstance(entry, dict) for entry in database.values()):
        raise UserError(f'{path} is JSON of another shape; expected ActivityNet\'s {{"database": {{id: …}}}}')
    has_subsets = any("subset" in entry for entry in database.values())
    lines: list[ListLine | ListError] = []
    names: list[str] = []
    for position, (name, entry) in enumerate(database.items(), start=1):
        labels = _segment_labels(entry)
        wrong = labels if isinstance(labels, str) else None
        subset = entry.get("subset", "")
        if not isinstance(subset, str):
            wrong = f"the subset is {subset!r}; expected one of {', '.join(map(repr, SUBSETS.values()))}"
        if wrong is not None:
            lines.append(ListError(path, position, f"the video {name!r}: {wrong}"))
            continue
        names += labels
        wanted = split is None or not has_subsets or subset == SUBSETS[split]
        if wanted and labels:  # the test subset has no annotations
            lines.append(ListLine(line=position, name=name, labels=tuple(labels)))
    if not lines:
        raise UserError(
            f"{path} has no annotated video" + (f" of the subset {SUBSETS[split]!r}" if split and has_subsets else "")
        )
    return lines, names


def read_something(path: Path, text: str) -> tuple[list[ListLine | ListError], list[str]]:
    """Read ``[{"id": "78687", "label": …, "template": "Putting [something] on [something]", …}]``.

    Returns:
        The videos, and their class names without brackets.

    Raises:
        UserError: the JSON has another shape.
    """
    content = _parse(path, text)
    if not isinstance(content, list) or not all(isinstance(entry, dict) and "id" in entry for entry in content):
        raise UserError(f'{path} is JSON of another shape; expected Something-Something\'s [{{"id", "template", …}}]')
    lines: list[ListLine | ListError] = []
    for position, entry in enumerate(content, start=1):
        name, template = entry["id"], entry.get("template")
        if "template" not in entry:
            text = (
                f"the video {name} has no template, and so no class; a published test split has none, so take the "
                "validation split"
            )
            lines.append(ListError(path, position, text))
        elif not isinstance(name, str | int) or not isinstance(template, str) or not template.strip() or flaw(template):
            text = f"the id is {name!r} and the template {template!r}; expected a text each"
            lines.append(ListError(path, position, text))
        else:
            class_name = template.replace("[", "").replace("]", "")
            lines.append(ListLine(line=position, name=str(name), labels=(class_name,)))
    return lines, [str(label) for line in lines if isinstance(line, ListLine) for label in line.labels]


def _segment_labels(entry: dict[str, Any]) -> list[str] | str:
    """Return the classes of the annotated segments without duplicates, or a description of the mistake."""
    segments = entry.get("annotations") or []
    if not isinstance(segments, list):
        return f"the annotations are {segments!r}; expected a list of segments"
    labels: dict[str, None] = {}
    for segment in segments:
        label = segment.get("label") if isinstance(segment, dict) else None
        if not isinstance(label, str | int) or isinstance(label, bool) or not str(label).strip() or flaw(str(label)):
            return f'an annotation is {segment!r}; expected {{"label": "…", "segment": […]}}'
        labels[str(label)] = None
    return [*labels]


def _parse(path: Path, text: str) -> Any:
    if len(text) > JSON_LIMIT:
        raise UserError(f"{path} is JSON of more than {JSON_LIMIT} characters; check that it is the right file")
    return parse_json(text, str(path))


def names_in(lines: Iterable[ListLine | ListError]) -> Iterator[str]:
    """Yield the class names among the labels of the lines."""
    for line in lines:
        if isinstance(line, ListLine):
            yield from (label for label in line.labels if isinstance(label, str))
