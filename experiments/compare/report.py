"""``report.html`` of a comparison: its table, its plots, and the episodes of each variant's first seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adafocus_rl.experiments.compare.plots import compute_plot, curve_plots
from adafocus_rl.experiments.compare.summary import ComparedRow
from adafocus_rl.experiments.compare.table import comparison_notes, comparison_table
from adafocus_rl.experiments.compare.training import LAST_STEP, Training
from adafocus_rl.experiments.report.page import PageContent, confusion_of, render_page
from adafocus_rl.experiments.report.run_report import chosen_note
from adafocus_rl.experiments.report.shown import show, spread
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.files import write_text
from adafocus_rl.record import EpisodeRecord, Trace


def write_comparison_report(run: Run, content: Mapping[str, Any], trainings: Sequence[Training], path: Path) -> Path:
    """Write the page of a comparison.

    Args:
        run: the run compared on.
        content: the content of compare.json.
        trainings: all trainings; those of seed 0 have written episode records.
        path: the file to write.

    Returns:
        The path.
    """
    rows, runs = [ComparedRow.of(row) for row in content["rows"]], len(content["runs"])
    record = merged_record([training for training in trainings if training.seed == 0])
    page = PageContent(
        title=f"adafocus_rl: {run.config.name}, {content['title']}",
        subtitle=f"{content['seeds']} seed{'s' * (content['seeds'] > 1)} on "
        + ("one frozen recognizer" if runs == 1 else f"the frozen recognizers of {runs} runs")
        + (f", {rows[0].videos} validation videos" if rows else ""),
        footer=f"Made by: {content['command']}",
        table=comparison_table(rows, content["runs"]),
        notes=_notes(content, rows),
        charts=[compute_plot(rows), *curve_plots(content)],
    )
    if record is not None and run.config.evaluation.report_videos:
        traces = record.last_traces()
        places = spread(len(record), run.config.evaluation.report_videos)
        workers = run.config.data.workers
        page.videos, page.failed = show(record, run.clips.val, places, traces, workers=workers)
        page.videos_note = chosen_note(len(page.videos), len(record), spread_out=True) + " Seed 0 of each."
        page.confusions = [confusion_of(record, trace) for trace in traces]
    write_text(path, render_page(page))
    return path


def merged_record(trainings: Sequence[Training]) -> EpisodeRecord | None:
    """Merge the records of several trainings, naming traces after the variants; None if there are no records.

    A training without a record, or with one of other videos, is left out.
    """
    first: EpisodeRecord | None = None
    traces: list[Trace] = []
    for f_c in LAST_STEP:
        for training in trainings:
            path = training.episodes(f_c)
            if f_c not in training.variants or not path.is_file():
                continue
            record = EpisodeRecord.load(path)
            first = first or record
            if record.paths == first.paths:
                traces += [dataclasses.replace(trace, name=training.name) for trace in record.traces]
    return None if first is None else dataclasses.replace(first, traces=traces)


def _notes(content: Mapping[str, Any], rows: Sequence[ComparedRow]) -> list[str]:
    over = (
        "seeds and videos"
        if not rows or any(row.over_seeds for row in rows)
        else "videos only, because there is one training of each"
    )
    return [
        f"IQM: interquartile mean over seeds. Intervals: 95 %, bootstrap over {over}. An agent that neither learns nor "
        "samples was run once, which counts for all seeds.",
        *(f"{note.removesuffix('.')}." for note in comparison_notes(rows)),
        *(f"{failure['agent']} failed: {failure['reason']}" for failure in content["failed"]),
    ]
