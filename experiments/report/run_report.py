"""``report.html`` of a run: results, curves, and the agents' episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adafocus_rl.experiments.report.page import PageContent, confusion_of, render_page
from adafocus_rl.experiments.report.plot import Line, Plot, Point, accuracy_and_compute
from adafocus_rl.experiments.report.rows import Row, is_last, rows_of
from adafocus_rl.experiments.report.shown import show, spread
from adafocus_rl.experiments.report.table import result_notes, result_table
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
    """Write the HTML report of a run.

    Args:
        run: the run.
        record: episode record of its validation videos.
        results: content of results.json.
        out: the file to write; None is ``report.html`` in the run folder.
        places: places of the videos in the record; None selects ``evaluation.report_videos`` of them, evenly spread.
        traces: traces of the record; None uses the last variant of each method at each operating point.
        spread_out: whether the page states that the videos are evenly spread, rather than requested by the user.

    Returns:
        The path of the report.
    """
    wanted = spread(len(record), run.config.evaluation.report_videos) if places is None else list(places)
    traces = record.last_traces() if traces is None else list(traces)
    videos, failed = show(record, run.clips.val, wanted, traces, workers=run.config.data.workers)
    rows = rows_of(results["rows"])
    content = PageContent(
        title=f"adafocus_rl: {run.config.name}",
        subtitle=f"{len(record)} validation videos of {record.num_frames} frames, {len(record.class_names)} classes",
        footer=f"Made from {run.folder.path.name}/{run.folder.episodes.name} and results.json; every number was "
        "measured.",
        table=result_table(rows),
        notes=_notes(rows, results["decode_ms"]),
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
    """Return a sentence on how the videos were selected, which never depends on their results."""
    if shown == count:
        return f"All {count}."
    how = ", evenly spread over the list, regardless of their results" if spread_out else ", as requested"
    return f"{shown} of {count}{how}."


def _notes(rows: Sequence[Row], decode_ms: float | None) -> list[str]:
    if not rows:
        return []
    return [
        *result_notes(rows, decode_ms),
        "GMACs are 10⁹ multiply-accumulates, policy and classifier included; convolutions and matrix products count.",
    ]


def compute_plot(rows: Sequence[Row]) -> Plot:
    """Return a plot of accuracy against compute; points of the last variant are filled, earlier variants hollow."""
    return accuracy_and_compute(
        [
            Point(
                name=row.agent,
                x=row.gmacs_per_video,
                y=100 * row.top1,
                hollow=not is_last(row, rows),
                reference=row.reference,
            )
            for row in rows
        ]
    )


def curve_plots(run: RunFolder) -> list[Plot]:
    """Return plots of the logged training curves: rewards and validation accuracy of stage II, losses of I and III."""
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
