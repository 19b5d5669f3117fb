"""A run's own whole-frame row, as a comparison counts it: what f_L reads without any choice of a patch."""

from __future__ import annotations

from typing import Any

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare.summary import groups_of
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.record import EpisodeRecord

FULL_FRAME = "full_frame"
"""Its name, as in the run's table."""


def full_frame_result(run: Run) -> dict[str, Any]:
    """The result of f_L on whole frames, from what the run's evaluation has left: one training, with the run's seed.

    Args:
        run: the run.

    Returns:
        What a training's result file holds, as far as a row needs it.

    Raises:
        UserError: the run was not evaluated, or without whole frames, or on other videos.
    """
    folder = run.folder
    rows = [row for row in folder.read_results()["rows"] if row["agent"] == FULL_FRAME]
    record = EpisodeRecord.load(folder.episodes) if folder.episodes.is_file() else None
    traces = [trace for trace in record.traces if trace.name == FULL_FRAME] if record is not None else []
    if not rows or record is None or not traces or record.index_hash != run.clips.val.index.hash():
        raise UserError(
            f"{folder.path} has no row of f_L on whole frames for its validation list; "
            f"`adafocus evaluate {folder.path}` makes it, unless evaluation.full_frame_epochs is 0"
        )
    (row,), (trace,) = rows, traces
    return {
        "seed": 0,
        "videos": record.videos.tolist(),
        "labels": [run.clips.val.index[video].labels[0] for video in record.videos.tolist()],
        "groups": groups_of(run.clips.val.index, record.videos.tolist()),
        "visits": 1,
        "hits": record.right(trace).int().tolist(),
        "map": row["map"],
        "reward": None,
        "gmacs_per_video": row["gmacs_per_video"],
        "local_gmacs_per_video": row["local_gmacs_per_video"],
        "learns": True,
        "stochastic": False,
        "reference": False,
        "seconds": None,
    }
