"""Output of a sweep: systems.json, systems.csv, systems.md, the pictures, and leaderboard.html."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adafocus_rl.experiments.compare.table import ONE_TRAINING, ONE_TRAINING_NOTE
from adafocus_rl.experiments.evaluation.published import CREDIT, SHORT_CREDIT
from adafocus_rl.experiments.report.charts import write_png
from adafocus_rl.experiments.report.page import ChartGroup, PageContent, render_page
from adafocus_rl.experiments.report.table import MISSING, Cell, Column, Table, number, text, time_cell, time_note
from adafocus_rl.experiments.sweep.charts import published_plots, system_plots
from adafocus_rl.experiments.sweep.summary import SystemRow
from adafocus_rl.files import write_json, write_text
from adafocus_rl.printable import printable

CSV_COLUMNS = (
    "name", "agent", "variant", "knob_name", "knob", "kept", "top1", "low", "high", "map", "gmacs_per_video",
    "local_gmacs_per_video", "ms_per_video", "difference", "difference_low", "difference_high", "seeds", "videos",
    "ms_q1", "ms_q3",
)  # fmt: skip

PUBLISHED = ("published.png", "published_motion.png")
"""Pictures of the published points: of the datasets of scenes, and of those in which motion matters."""

DASHED = "Dashed, in the colour of a system: the same trained system with random decisions at the same mean compute."


def write_all(folder: Path, rows: Sequence[SystemRow], content: Mapping[str, Any], *, published: bool) -> list[Path]:
    """Write all files of a sweep; each is replaced only once it is complete.

    Args:
        folder: folder for the files.
        rows: the rows.
        content: content of systems.json.
        published: whether to draw the published points, in charts of their own.

    Returns:
        Paths of the files, systems.json first.
    """
    paths = [folder / name for name in ("systems.json", "systems.csv", "systems.md", "leaderboard.html")]
    write_json(paths[0], content)
    write_text(paths[1], _csv(rows))
    write_text(paths[2], _markdown(rows, content, published=published))
    write_text(paths[3], _page(rows, content, published=published))
    title = f"{content['run']}: {_trainings(content)}, 95 % intervals; dashed: random decisions"
    for name, plot in zip(("systems_gmacs.png", "systems_ms.png"), system_plots(rows), strict=True):
        if not plot.empty:
            write_png(folder / name, [plot], title=title)
            paths.append(folder / name)
    if published:
        plots = published_plots()
        for name, some in zip(PUBLISHED, (plots[:3], plots[3:]), strict=True):
            write_png(folder / name, some, title=SHORT_CREDIT)
            paths.append(folder / name)
    return paths


def system_table(rows: Sequence[SystemRow]) -> Table:
    """Return the rows as a table, accuracies in percent."""
    return Table.of(COLUMNS, rows)


def system_notes(rows: Sequence[SystemRow], content: Mapping[str, Any]) -> list[str]:
    """Return sentences that explain the table, and name what is missing in it."""
    notes = [
        "Interval: 95 %, bootstrap over seeds and videos. − random: top-1 minus that of the same trained system with "
        "random decisions, seed by seed on the same videos, with its 95 % interval. A random counterpart has the time "
        "of its system.",
        "GMACs are 10⁹ multiply-accumulates, all parts of a system included; convolutions and matrix products count.",
    ]
    if any(row.ms_per_video is not None for row in rows):
        notes.append(time_note(None))
    if not all(row.over_seeds for row in rows):
        notes.append(f"{ONE_TRAINING_NOTE}.")
    notes += [f"{one['system']} is left out: {one['reason'].removesuffix('.')}." for one in content["left_out"]]
    notes += [f"{one['system']} failed: {one['reason'].removesuffix('.')}." for one in content["failed"]]
    return notes


def _page(rows: Sequence[SystemRow], content: Mapping[str, Any], *, published: bool) -> str:
    groups = [ChartGroup(title="Accuracy and cost", notes=[DASHED], charts=system_plots(rows))]
    if published:
        groups.append(ChartGroup(title="Published points", notes=[CREDIT], charts=published_plots()))
    return render_page(
        PageContent(
            title=f"adafocus_rl: {content['run']}, systems",
            subtitle=f"{_trainings(content)} on one frozen recognizer"
            + (f", {rows[0].videos} validation videos" if rows else ""),
            footer=f"Made by: {content['command']}",
            table=system_table(rows),
            notes=system_notes(rows, content),
            more_charts=groups,
            charts_first=True,
            shows_videos=False,
        )
    )


def _markdown(rows: Sequence[SystemRow], content: Mapping[str, Any], *, published: bool) -> str:
    table = system_table(rows)
    lines = [f"# Systems on {_escaped(content['run'])}", ""]
    if table.rows:
        lines += [_line(table.heads), _line(["---"] * len(table.heads))]
        lines += [_line([cell.text for cell in row]) for row in table.rows]
    lines += ["", *(line for note in system_notes(rows, content) for line in (_escaped(note), ""))]
    lines += ["![Top-1 against GMACs per video](systems_gmacs.png)", ""]
    if any(row.ms_per_video is not None for row in rows):
        lines += ["![Top-1 against milliseconds per video](systems_ms.png)", ""]
    lines += [DASHED, ""]
    if published:
        lines += [line for name in PUBLISHED for line in (f"![Published points]({name})", "")]
        lines += [CREDIT, ""]
    return "\n".join([*lines, f"Made by: {_escaped(content['command'])}", ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    """Return text without the characters that Markdown or HTML in it would interpret in a table."""
    return printable(text, None).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _csv(rows: Sequence[SystemRow]) -> str:
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    table.writerow(["system" if name == "name" else "label" if name == "agent" else name for name in CSV_COLUMNS])
    for row in rows:
        plain = row.plain()
        table.writerow(["" if plain[name] is None else plain[name] for name in CSV_COLUMNS])
    return written.getvalue()


def _trainings(content: Mapping[str, Any]) -> str:
    return f"{content['seeds']} seed{'s' * (content['seeds'] > 1)}"


def _interval(row: SystemRow) -> Cell:
    mark = "" if row.over_seeds else f" {ONE_TRAINING}"
    return Cell(text=f"{100 * row.low:.1f} – {100 * row.high:.1f}{mark}", key=repr(100 * row.low))


def _difference(row: SystemRow) -> Cell:
    if row.difference is None or row.difference_low is None or row.difference_high is None:
        return Cell(text=MISSING)
    words = f"{100 * row.difference:+.1f} ({100 * row.difference_low:+.1f} – {100 * row.difference_high:+.1f})"
    return Cell(text=words, key=repr(100 * row.difference))


COLUMNS: list[Column[SystemRow]] = [
    Column(head="system", cell=lambda row: text(row.name + (" *" if row.reference else ""))),
    Column(head="variant", cell=lambda row: text(row.variant), optional=True),
    Column(head="knob", cell=lambda row: _knob(row), optional=True),
    Column(head="kept %", cell=lambda row: number(row.kept, ".0f", 100), optional=True),
    Column(head="top-1 %", cell=lambda row: number(row.top1, ".1f", 100)),
    Column(head="95 % interval", cell=_interval),
    Column(head="− random", cell=_difference, optional=True),
    Column(head="mAP %", cell=lambda row: number(row.map, ".1f", 100)),
    Column(head="GMACs/video", cell=lambda row: number(row.gmacs_per_video, ".4g")),
    Column(head="ms/video", cell=time_cell, optional=True),
    Column(head="seeds", cell=lambda row: number(row.seeds, "d")),
]
"""Columns of the table."""


def _knob(row: SystemRow) -> Cell:
    if row.knob is None:
        return Cell(text=MISSING)
    return Cell(text=f"{row.knob_name} {row.knob:g}", key=repr(row.knob))
