"""The output at the end of a command on a run: its table, the videos that were left out, the files written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adafocus_rl.experiments.report.rows import rows_of
from adafocus_rl.experiments.report.table import result_notes, result_table
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.shipped import DEMO
from adafocus_rl.experiments.terminal.command_line import print_json
from adafocus_rl.experiments.terminal.progress import say
from adafocus_rl.experiments.terminal.tables import print_plain


def print_found(run: Run, results: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the results on stdout, and the videos that were left out on stderr."""
    if as_json:
        print_json(results)
    else:
        _print(results)
    if run.clips.failed:
        say(f"{len(run.clips.failed)} videos were left out because they cannot be decoded:")
        for path, reason in run.clips.failed.items():
            say(f"  {path}: {reason}")


def finish(run: Run, results: Mapping[str, Any], *, as_json: bool) -> None:
    """Print as ``print_found`` does, and also the files that were written; for the shipped run, that none was."""
    print_found(run, results, as_json=as_json)
    if run.folder.shipped:
        say(f"{DEMO} stays as it is, so nothing was written; `adafocus replay {DEMO}` writes its page")
        return
    written = [path for path in (run.folder.results, run.folder.sheet, run.folder.report) if path.is_file()]
    say(f"wrote {', '.join(map(str, written))}")


def _print(results: Mapping[str, Any]) -> None:
    """Print the rows of results.json, accuracies in percent, and the seconds per stage, on stdout."""
    if rows := rows_of(results["rows"]):
        result_table(rows).print(f"validation, {rows[0].videos} videos", width=120)
        for note in result_notes(rows, results["decode_ms"]):
            print_plain(note)
    seconds = "  ".join(f"{stage} {value:.0f}" for stage, value in results["seconds"].items())
    if seconds:
        print_plain(f"seconds per stage: {seconds}")
