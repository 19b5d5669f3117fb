"""A run's own rows of further methods, such as f_L on whole frames, as results of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.report.rows import Row, rows_of, superseded
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.record import WHOLE_FRAMES, EpisodeRecord, Trace


def recorded_results(run: Run, labels: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the results of methods from the run's evaluation, each as one training with seed 0.

    Args:
        run: the run.
        labels: labels of methods in the run's table; all their operating points are returned, in the last variant.

    Returns:
        By title, the entries of a training's result file that a row needs.

    Raises:
        UserError: if the run was not evaluated, or without such a method, or on other videos.
    """
    rows = rows_of(run.folder.read_results()["rows"]) if labels else []
    record = EpisodeRecord.load(run.folder.episodes) if labels and run.folder.episodes.is_file() else None
    found: dict[str, list[dict[str, Any]]] = {}
    for label in labels:
        wanted = [row for row in rows if row.agent == label and not superseded(row, rows)]
        if not wanted or record is None or record.index_hash != run.clips.val.index.hash():
            raise UserError(_missing(run, label, [*dict.fromkeys(row.agent for row in rows)]))
        traces = {trace.title: trace for trace in record.traces}
        for row in wanted:
            if row.title not in traces:
                raise UserError(_missing(run, label, []))
            title = label if row.knob is None else f"{label} at {row.knob:g}"
            found[title] = [_result(run, row, record, traces[row.title])]
    return found


def _result(run: Run, row: Row, record: EpisodeRecord, trace: Trace) -> dict[str, Any]:
    index, videos = run.clips.val.index, record.videos.tolist()
    return {
        "method": row.agent,
        "label": row.agent,
        "variant": row.variant,
        "knob": row.knob,
        "kept": row.kept,
        "seed": 0,
        "videos": videos,
        "labels": [index[video].labels[0] for video in videos],
        "groups": index.groups(videos),
        "visits": 1,
        "hits": record.right(trace).int().tolist(),
        "map": row.map,
        "reward": None,
        "gmacs_per_video": row.gmacs_per_video,
        "local_gmacs_per_video": row.local_gmacs_per_video,
        "learns": True,
        "stochastic": False,
        "reference": row.reference,
        "seconds": None,
    }


def _missing(run: Run, label: str, known: Sequence[str]) -> str:
    path = run.folder.path
    if label == WHOLE_FRAMES:
        return (
            f"{path} has no row of f_L on whole frames for its validation list; `adafocus evaluate {path}` makes it, "
            "unless evaluation.full_frame_epochs is 0"
        )
    has = f"; it has {', '.join(known)}" if known else ""
    return (
        f"{path} has no row of {label!r} for its validation list{has}; `adafocus evaluate {path}` makes it, if the run "
        "has such a method"
    )
