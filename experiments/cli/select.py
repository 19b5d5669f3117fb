"""``adafocus select``."""

from __future__ import annotations

from collections.abc import Sequence

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.cli.named_videos import VIDEOS_HELP, named_videos
from adafocus_rl.experiments.cli.options import add_seconds_option, add_system_options, load_system, recorded_seconds
from adafocus_rl.experiments.terminal.command_line import CommandParser, at_most
from adafocus_rl.experiments.terminal.progress import Ticker, say
from adafocus_rl.files import new_folder, user_path, write_json

FAILED = 1
"""Exit code if some of the videos could not be recognised."""


def select_command(argv: Sequence[str]) -> int:
    """Run ``adafocus select RUN VIDEO… --out FILE``."""
    parser = CommandParser(
        prog="adafocus select",
        description="Write the frames and patches that a run selects in videos as JSON, for other recognisers. Boxes "
        "are (top, left, height, width) in pixels of the stored video; docs/select.md describes the format.",
    )
    parser.add_argument("run", help="run folder")
    parser.add_argument("videos", nargs="*", metavar="VIDEO", help=VIDEOS_HELP)
    parser.add_argument("--out", required=True, metavar="FILE", help="JSON file to write")
    parser.add_argument(
        "--frames",
        type=at_most(1_000_000),
        metavar="K",
        help="select the K frames that raised the predicted class's probability most (default: all sampled frames)",
    )
    parser.add_argument(
        "--crops", metavar="DIR", help="write the patches, cut from the stored frames, into this new or empty folder"
    )
    add_system_options(parser)
    add_seconds_option(parser)
    options = parser.parse_args(argv)
    options.videos = named_videos(options.videos, run=options.run)
    if options.frames is not None and options.frames < 1:
        raise UserError(f"--frames is {options.frames}; give at least 1")
    seconds = recorded_seconds(options.seconds)
    out = user_path(options.out)
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; give the JSON file to write")

    from adafocus_rl.experiments.selection import select

    if options.crops is not None:
        new_folder(options.crops, "folder of crops")  # checked before the networks are loaded
    predictor = load_system(options, probabilities=True)
    with Ticker("select", len(options.videos)) as ticker:

        def progress(path: str, reason: str | None) -> None:
            if reason is not None:
                say(f"left out {path}: {reason}")
            ticker.advance(1, path)

        found = select(
            predictor,
            options.videos,
            frames=options.frames,
            crops=options.crops,
            seconds=seconds,
            progress=progress,
        )
    write_json(out, found.plain(), indent=None)
    say(f"wrote {out}")
    if found.failed:
        say(f"{len(found.failed)} of {len(options.videos)} videos could not be recognised")
    return FAILED if found.failed else 0
