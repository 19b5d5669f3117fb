"""``patches.png``: a few validation clips, one per row, with the selected patch outlined on each frame."""

from __future__ import annotations

from pathlib import Path

from adafocus_rl.experiments.report.pictures import sheet, sheet_title
from adafocus_rl.experiments.report.shown import show, spread
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.files import replacing
from adafocus_rl.record import EpisodeRecord


def write_contact_sheet(run: Run, record: EpisodeRecord) -> Path:
    """Draw videos spread evenly over the validation list, with the patches and predictions of the run's own agent.

    Args:
        run: the run.
        record: episode record of its validation videos; the run's own agent comes first.

    Returns:
        The path of the picture.
    """
    places = spread(len(record), run.config.evaluation.sheet_videos)
    videos, failed = show(record, run.clips.val, places, record.last_traces()[:1])
    run.clips.note_failures(failed)
    if videos:
        with replacing(run.folder.sheet) as temporary:
            sheet(videos, title=sheet_title(run.config.name, videos)).save(temporary, format="png")
    return run.folder.sheet
