"""``report.html`` of a run: its results, curves, and what its agents did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adafocus_rl.experiments.report.charts import Line, Plot, Point, accuracy_and_compute
from adafocus_rl.experiments.report.page import PageContent, confusion_of, render_page
from adafocus_rl.experiments.report.rows import Row, is_last, rows_of
from adafocus_rl.experiments.report.shown import show, spread
from adafocus_rl.experiments.report.table import result_table
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.metrics_log import read_metrics
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.steps import POLICY, find_step
from adafocus_rl.files import write_text
from adafocus_rl.record import EpisodeRecord, Trace


def write_report(
    run: Run,
    record: EpisodeRecord,
    results: Mapping[str, Any],
    *,
    out: Path | None = None,
    places: Sequence[int] | None = None,
    traces: Sequence[Trace] | None = None,
    spread_out: bool = True,
) -> Path:
    """Write the page of a run.

    Args:
        run: the run.
        record: of its validation videos.
        results: results.json.
        out: where to; None is ``report.html`` in the run folder.
        places: videos of the record; None takes ``evaluation.report_videos`` of them, evenly spread.
        traces: traces of the record; None takes all, each of its last variant.
        spread_out: whether the videos are evenly spread, and not picked by somebody; the page says so.

    Returns:
        The path.
    """
    wanted = spread(len(record), run.config.evaluation.report_videos) if places is None else list(places)
    traces = record.last_traces() if traces is None else list(traces)
    videos, failed = show(record, run.clips.val, wanted, traces, workers=run.config.data.workers)
    rows = rows_of(results["rows"])
    content = PageContent(
        title=f"adafocus_rl: {run.config.name}",
        subtitle=f"{len(record)} validation videos of {record.num_frames} frames, {len(record.class_names)} classes",
        footer=f"Made from {run.folder.path.name}/{run.folder.episodes.name} and results.json, without a number "
        "between them that was not measured.",
        table=result_table(rows),
        notes=_notes(rows),
        charts=[compute_plot(rows), *curve_plots(run.folder)],
        confusions=[confusion_of(record, trace) for trace in traces],
        videos=videos,
        videos_note=chosen_note(len(videos), len(record), spread_out=spread_out),
        failed=failed,
    )
    path = out or run.folder.report
    write_text(path, render_page(content))
    return path


def chosen_note(shown: int, count: int, *, spread_out: bool) -> str:
    """How the videos were chosen: not by how well they went."""
    if shown == count:
        return f"All {count}."
    how = ", evenly spread over the list, whatever came of them" if spread_out else ", as asked for"
    return f"{shown} of {count}{how}."


def _notes(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    videos = rows[0].videos
    error = 100 * (0.25 / videos) ** 0.5
    return [
        f"With {videos} videos the standard error of a top-1 is up to {error:.1f} points. GMACs are 10⁹ "
        "multiply-accumulates, policy and classifier included; convolutions and matrix products count."
    ]


def compute_plot(rows: Sequence[Row]) -> Plot:
    """Accuracy against compute; the last variant is filled, those before it are hollow."""
    return accuracy_and_compute(
        [Point(name=row.agent, x=row.gmacs_per_video, y=100 * row.top1, hollow=not is_last(row, rows)) for row in rows]
    )


def curve_plots(run: RunFolder) -> list[Plot]:
    """What was logged of each stage."""
    entries = read_metrics(run.metrics)
    plots = []
    for heading, key, label, factor in (
        ("Stage II: reward of an episode, sampled actions", "rollout/ep_rew_mean", "reward", 1),
        ("Stage II: validation top-1, best actions", "eval/top1", "top-1, %", 100),
        ("Stages I and III: training loss of f_C", "train/loss", "cross-entropy", 1),
    ):
        lines = []
        for stage in dict.fromkeys(entry["stage"] for entry in entries):
            if (key == "train/loss") == (find_step(stage).number == POLICY.number):
                continue
            points = [
                (float(entry["epoch"]), factor * float(entry[key]))
                for entry in entries
                if entry["stage"] == stage and entry.get(key) is not None
            ]
            lines.append(Line(name=stage, points=points))
        plots.append(Plot(heading=heading, x_label="epoch", y_label=label, lines=lines))
    return plots
