"""Combine the runs of a cross-validation: each video counts once, as recognised by the run not trained on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare.summary import Results, mean_of_known
from adafocus_rl.experiments.run.run import Run


def refuse_shared_videos(runs: Sequence[Run]) -> None:
    """Refuse runs that validate on the same video, which would count twice and make the intervals too narrow.

    Raises:
        UserError: if there is such a video; the message names the first.
    """
    seen: dict[str, Run] = {}
    for run in runs:
        index = run.clips.val.index
        for path in {str(index.full_path(row).resolve()) for row in range(len(index))}:
            other = seen.setdefault(path, run)
            if other is not run:
                raise UserError(
                    f"{other.folder.path} and {run.folder.path} both validate on {path}; give the runs of a "
                    "cross-validation, whose validation lists have no video in common"
                )


def put_together(runs: Sequence[Results]) -> dict[str, list[dict[str, Any]]]:
    """Combine the results on the videos of all runs, by variant and seed.

    Variants and seeds that some run lacks are left out, because there is no result for some of the videos.

    Args:
        runs: results by variant, for each run.

    Returns:
        Results in which ``runs`` holds the run of each video, counted from 0. Mean average precision, which is not a
        mean over videos, rewards and costs are means over the runs.
    """
    together: dict[str, list[dict[str, Any]]] = {}
    for name in runs[0]:
        by_seed = [{one["seed"]: one for one in results.get(name, ())} for results in runs]
        seeds = [seed for seed in by_seed[0] if all(seed in found for found in by_seed)]
        if seeds:
            together[name] = [_joined([found[seed] for found in by_seed]) for seed in seeds]
    return together


def _joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    joined = dict(parts[0])
    joined["runs"] = [number for number, part in enumerate(parts) for _ in part["videos"]]
    # Rows of each run's own list; the number of the run distinguishes them.
    joined["videos"] = [[number, video] for number, part in enumerate(parts) for video in part["videos"]]
    for key in ("labels", "hits"):
        joined[key] = [value for part in parts for value in part[key]]
    groups = [part["groups"] for part in parts]
    joined["groups"] = None if None in groups else [group for some in groups for group in some]
    for key in ("map", "reward", "gmacs_per_video", "local_gmacs_per_video", "seconds"):
        joined[key] = mean_of_known(part[key] for part in parts)
    joined["kept"] = mean_of_known(part.get("kept") for part in parts)
    if "curves" in joined:
        epochs = joined["curves"]["epoch"]
        curves = [part["curves"] for part in parts]
        joined["curves"] = {
            "epoch": epochs,
            **{
                key: [mean_of_known(line[key][at] for line in curves) for at in range(len(epochs))]
                for key in ("reward", "top1")
            },
        }
    return joined
