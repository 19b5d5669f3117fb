"""``adafocus replay``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.terminal.command_line import CommandParser, at_most, command_text
from adafocus_rl.experiments.terminal.progress import say
from adafocus_rl.files import user_path

if TYPE_CHECKING:
    from adafocus_rl.experiments.run.folder import RunFolder
    from adafocus_rl.record import EpisodeRecord

KINDS = (".html", ".mp4", ".gif", ".png")
GRID_VIDEOS = 9
"""Number of videos in a film or sheet if none are named."""


def replay(argv: Sequence[str]) -> int:
    """Run ``adafocus replay RUN``."""
    parser = CommandParser(
        prog="adafocus replay",
        description="Show what the agents of a run did in its validation videos, as recorded when they were "
        "evaluated: as a page, a film or a picture.",
    )
    parser.add_argument("run", help="run folder")
    parser.add_argument(
        "--video", nargs="+", metavar="ID", help="videos: a row of the validation list, a path in it, or a file name"
    )
    parser.add_argument(
        "--videos",
        type=at_most(10_000),
        metavar="N",
        help="number of videos, evenly spread over the list, instead of named ones",
    )
    parser.add_argument(
        "--agents", nargs="+", metavar="NAME",
        help="agents and methods to show side by side, by label in the results table or by class; default: all on a "
        "page, else the run's own agent",
    )  # fmt: skip
    parser.add_argument(
        "--out", metavar="FILE", help="FILE.html, FILE.mp4, FILE.gif or FILE.png (default: RUN/report.html)"
    )
    parser.add_argument("--probabilities", action="store_true", help="shade π's probabilities in a film or picture")
    parser.add_argument("--fps", type=at_most(240), default=3, help="sampled frames per second of a film (default: 3)")
    options = parser.parse_args(argv)
    if options.video and options.videos is not None:
        raise UserError("--video names videos and --videos counts them; give one of the two")
    for name in ("videos", "fps"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} is {value}; give at least 1")

    from adafocus_rl.experiments.report.pictures import write_pictures
    from adafocus_rl.experiments.report.run_report import write_report
    from adafocus_rl.experiments.report.shown import choose_traces, find_video, show, spread
    from adafocus_rl.experiments.run.lock import locked
    from adafocus_rl.experiments.run.run import Run

    run = Run.open(options.run)
    run.check_videos()
    folder = run.folder
    out = user_path(options.out) if options.out else folder.output / folder.report.name
    if out.suffix not in KINDS:
        raise UserError(f"--out is {out}; give a file that ends in {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    record = load_record(folder)
    is_page = out.suffix == ".html"
    count = options.videos or (run.config.evaluation.report_videos or 50 if is_page else GRID_VIDEOS)
    places = [find_video(record, name) for name in options.video] if options.video else spread(len(record), count)
    traces = choose_traces(record, options.agents)
    if not is_page and not options.agents:
        traces = traces[:1]
    out.parent.mkdir(parents=True, exist_ok=True)
    inside = out.resolve().is_relative_to(folder.path.resolve())
    with locked(folder.path, command_text("adafocus", "replay", *argv)) if inside else nullcontext():
        if is_page:
            results = folder.read_results()
            write_report(run, record, results, out=out, places=places, traces=traces, spread_out=not options.video)
        else:
            videos, failed = show(record, run.clips.val, places, traces)
            run.clips.note_failures(failed)
            write_pictures(out, videos, name=run.config.name, heat=options.probabilities, fps=options.fps)
    say(f"wrote {out}")
    return 0


def load_record(folder: RunFolder) -> EpisodeRecord:
    """Load the episode record of a run.

    Raises:
        UserError: if it has none.
    """
    from adafocus_rl.record import EpisodeRecord

    if not folder.episodes.is_file():
        raise UserError(
            f"{folder.path} has no episode record {folder.episodes.name}; `adafocus evaluate {folder.path}` writes it"
        )
    return EpisodeRecord.load(folder.episodes)
