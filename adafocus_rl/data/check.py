"""Check of a training and a validation list and their videos; every problem is reported once, with what to do.

A fault makes a run fail or its numbers wrong. A note is worth knowing but harmless, for example a short video.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from adafocus_rl.data.check_splits import check_balance, check_copies, check_ids, check_names, class_counts
from adafocus_rl.data.findings import CheckConfig, CheckReport, Finding, Level, Listed, ListSummary
from adafocus_rl.data.index import read_boxes, spelled
from adafocus_rl.data.inspect_video import VideoJob, VideoReport, inspect_video
from adafocus_rl.data.list_text import ListError
from adafocus_rl.data.processes import run_in_processes
from adafocus_rl.data.read import read_lists
from adafocus_rl.errors import UserError

Progress = Callable[[int, int], None]
"""Called with (number of videos checked, number of videos to check)."""

CHECK_SECONDS = 300.0
"""Time limit for checking one video, like ``data.decode_timeout`` in training."""

CRASHED = VideoReport(fault=("crash", "the decoder crashes on it, or comes to no end; convert it, or remove its line"))


def check_lists(config: CheckConfig, *, flip: bool = True, progress: Progress | None = None) -> CheckReport:
    """Check lists and videos.

    The checks run in the order lines, labels, videos, copies, overlap of the lists. A video with a fault is left out of
    the later checks, so that each problem is reported once.

    Args:
        config: what to check.
        flip: whether training clips will be mirrored.
        progress: called as videos are checked.

    Raises:
        UserError: a list or a file of class names cannot be read at all.
    """
    report = CheckReport()
    contents = read_lists(
        config.lists, root=config.root, classes=config.classes, format=config.format, num_classes=config.num_classes
    )
    lists = [Listed(split=split, file=config.lists[split], content=content) for split, content in contents.items()]
    for listed in lists:
        _read_lines(listed, report)
    report.findings += check_names(lists)
    report.num_classes = config.num_classes or _count_classes(lists[0])
    for listed in lists:
        _check_labels(listed, report)
    report.findings += check_balance(lists, report.num_classes, flip=flip)
    seen = _look(lists, config, report, progress)
    report.findings += check_copies(lists)
    if len(lists) == 2:
        report.findings += check_ids(lists[0], lists[1], report.findings)
    for listed in lists:
        report.usable[listed.split] = listed.content.index(listed.file, listed.records, config.template)
        report.lists[listed.split] = _summary(listed, report.num_classes, seen)
        try:
            read_boxes(report.usable[listed.split])
        except UserError as error:
            _add(report, "fault", "boxes", str(listed.file), str(error))
    return report


def _add(report: CheckReport, level: Level, kind: str, where: str, text: str) -> None:
    report.findings.append(Finding(level=level, kind=kind, where=where, text=text))


def _read_lines(listed: Listed, report: CheckReport) -> None:
    """Report lines that cannot be read and paths that are listed twice."""
    for note in listed.content.notes:
        _add(report, "note", "class_order", str(listed.file), note.removeprefix(f"{listed.file}: "))
    if listed.content.conflict is not None:
        _add(report, "fault", "other_classes", str(listed.file), listed.content.conflict)
    first: dict[str, int] = {}
    for line, record in listed.content.lines:
        where = f"{listed.file}, line {line}"
        if isinstance(record, ListError):
            _add(report, "fault", "bad_line", where, record.text)
        elif spelled(record.path) in first:
            text = f"{record.path!r} is on line {first[spelled(record.path)]} already; remove one, or join their labels"
            _add(report, "fault", "duplicate", where, text)
        else:
            listed.lines[record.path] = first[spelled(record.path)] = line
            listed.records.append(record)


def _count_classes(listed: Listed) -> int:
    if listed.content.classes is not None:
        return len(listed.content.classes.names)
    return 1 + max((label for record in listed.records for label in record.labels), default=-1)


def _check_labels(listed: Listed, report: CheckReport) -> None:
    """Report labels that exceed the number of classes."""
    kept = []
    for record in listed.records:
        if max(record.labels) < report.num_classes:
            kept.append(record)
            continue
        text = (
            f"{record.path!r} has the label {max(record.labels)}; expected 0 to {report.num_classes - 1} for "
            f"{report.num_classes} classes: correct the label (labels count from 0) or the names of classes"
        )
        _add(report, "fault", "label_range", listed.where(record), text)
    listed.records = kept


def _look(
    lists: list[Listed], config: CheckConfig, report: CheckReport, progress: Progress | None
) -> dict[str, VideoReport]:
    """Inspect every video and keep those without a fault; return the reports by list and line."""
    places = [(listed, record) for listed in lists for record in listed.records]
    jobs = [
        VideoJob(
            path=listed.path(record),
            listed=record.video_frames,
            frame_sets=config.frame_sets,
            template=config.template,
            depth=config.depth,
            min_side=config.min_side,
        )
        for listed, record in places
    ]
    reports: dict[int, VideoReport] = {}
    for position, found in run_in_processes(inspect_video, jobs, workers=config.workers, seconds=CHECK_SECONDS):
        reports[position] = found or CRASHED
        if progress is not None:
            progress(len(reports), len(jobs))
    for listed in lists:
        listed.records = []
    seen = {}
    for position, (listed, record) in enumerate(places):
        where, each = listed.where(record), reports[position]
        if each.fault is not None:
            _add(report, "fault", each.fault[0], where, f"{record.path}: {each.fault[1]}")
            continue
        listed.records.append(record)
        seen[where] = each
        for kind, text in each.notes:
            _add(report, "note", kind, where, f"{record.path}: {text}")
    return seen


def _summary(listed: Listed, num_classes: int, seen: dict[str, VideoReport]) -> ListSummary:
    reports = [seen[listed.where(record)] for record in listed.records]
    frames = np.array([each.frames for each in reports])
    sizes = Counter(f"{each.width}×{each.height}" for each in reports)
    return ListSummary(
        file=str(listed.file),
        format=listed.content.format,
        videos=len(listed.content.lines),
        usable=len(reports),
        files=sum(not each.folder for each in reports),
        folders=sum(each.folder for each in reports),
        frames={"min": int(frames.min()), "median": float(np.median(frames)), "max": int(frames.max())}
        if len(frames)
        else {},
        sizes=dict(sizes.most_common()),
        class_counts=class_counts(listed.records, num_classes).tolist(),
    )
