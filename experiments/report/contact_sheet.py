"""A few validation clips, one per row, with the selected patch outlined on each frame: ``patches.png``, TensorBoard."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from adafocus_rl.experiments.report.pictures import sheet, sheet_title
from adafocus_rl.experiments.report.shown import show, spread
from adafocus_rl.experiments.run.folder import EVALUATION
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.files import replacing
from adafocus_rl.record import EpisodeRecord

VIDEOS = 4
"""Number of videos in a picture in TensorBoard."""


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


def log_contact_sheets(run: Run, record: EpisodeRecord) -> None:
    """Add a picture for each method and operating point to TensorBoard: frames, patches, resolutions and stops.

    Args:
        run: the run.
        record: episode record of its validation videos.
    """
    traces = record.last_traces()
    videos, _ = show(record, run.clips.val, spread(len(record), VIDEOS), traces)
    for number, trace in enumerate(traces if videos else ()):
        alone = [replace(video, panels=[video.panels[number]]) for video in videos]
        picture = np.array(sheet(alone, title=sheet_title(run.config.name, alone)))
        run.log.picture(EVALUATION, 0, f"replay/{trace.title}", torch.from_numpy(picture).permute(2, 0, 1))
