"""``adafocus predict``."""

from __future__ import annotations

import mimetypes
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adafocus_rl.data.decode_error import DecodeError
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.cli.named_videos import VIDEOS_HELP, named_videos
from adafocus_rl.experiments.cli.options import add_seconds_option, add_system_options, load_system, recorded_seconds
from adafocus_rl.experiments.terminal.command_line import CommandParser, at_most, print_json
from adafocus_rl.experiments.terminal.progress import Ticker, say
from adafocus_rl.experiments.terminal.tables import PlainTable, print_plain
from adafocus_rl.files import user_path

if TYPE_CHECKING:
    from adafocus_rl.experiments.report.prediction import Prediction
    from adafocus_rl.experiments.report.shown import ShownVideo

FAILED = 1
"""Exit code if some of the videos could not be recognised."""

OVERLAYS = (".mp4", ".gif", ".png")


def predict(argv: Sequence[str]) -> int:
    """Run ``adafocus predict RUN VIDEO…``."""
    parser = CommandParser(
        prog="adafocus predict",
        description="Recognise videos with a run's networks and agent. Patches are given in pixels of the video's own "
        "frames, of which the networks process the centre, resized as in the run's evaluation.",
    )
    parser.add_argument("run", help="run folder")
    parser.add_argument("videos", nargs="*", metavar="VIDEO", help=VIDEOS_HELP)
    parser.add_argument("--top", type=at_most(1_000_000), default=5, metavar="N", help="classes to print (default: 5)")
    add_system_options(parser)
    add_seconds_option(parser, otherwise="; with --online, no limit")
    parser.add_argument(
        "--out",
        metavar="OUT",
        help="draw the patches: FILE.mp4, FILE.gif, FILE.png, or, for several videos, a folder of films",
    )
    parser.add_argument("--probabilities", action="store_true", help="shade π's probabilities in the pictures")
    parser.add_argument(
        "--online", action="store_true", help="recognise one stream frame by frame, with a line for each frame"
    )
    parser.add_argument(
        "--every",
        metavar="N|Ns",
        help="with --online, the distance of the frames: 5 for every fifth, or 0.5s (default: every frame)",
    )
    parser.add_argument(
        "--exit-at", type=float, metavar="P", help="with --online, stop once the class has this probability"
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON on stdout instead of tables; with --online, one line per frame"
    )
    options = parser.parse_args(argv)
    options.videos = named_videos(options.videos, run=options.run)
    if options.top < 1:
        raise UserError(f"--top is {options.top}; give at least 1")
    if options.online:
        return _online(options)
    if options.every is not None or options.exit_at is not None:
        raise UserError("--every and --exit-at are for streams; add --online")
    seconds = recorded_seconds(options.seconds)
    out = user_path(options.out) if options.out else None
    if out is not None and out.suffix in OVERLAYS and len(options.videos) > 1:
        raise UserError(f"--out {out} is one file, but there are {len(options.videos)} videos; give a folder")
    if out is not None and out.suffix not in OVERLAYS and mimetypes.guess_type(out.name)[0] and not out.is_dir():
        raise UserError(f"--out is {out}; give a folder, or a file that ends in {' or '.join(OVERLAYS)}")

    from adafocus_rl.experiments.evaluation.timing import ROUNDS
    from adafocus_rl.experiments.report.prediction import PredictionError, stored_frames

    predictor = load_system(options, probabilities=options.probabilities)
    found: list[tuple[dict[str, Any], Path | None]] = []
    times: tuple[float, float] | None = None
    failed: list[dict[str, str]] = []
    with Ticker("predict", len(options.videos)) as ticker:
        for name in options.videos:
            try:
                prediction, recording = predictor.predict_named(name, seconds=seconds)
                drawn = None
                if out is not None:
                    template = predictor.run.config.data.frame_template
                    pixels = stored_frames(name, prediction.frames.tolist(), recording=recording, template=template)
                    # Drawn now, so that the frames of many videos are not held at once.
                    shown = prediction.shown_on(pixels)
                    drawn = _draw(shown, prediction.path, out, len(found), heat=options.probabilities)
            except PredictionError as error:
                failed.append({"path": name, "reason": error.reason})
                say(f"left out {name}: {error.reason}")
            else:
                times = times or predictor.milliseconds(prediction)
                found.append((plain(prediction, options.top), drawn))
            ticker.advance(1, name)
    if options.json:
        full_ms = times[1] if times else None
        print_json({"videos": [one for one, _ in found], "failed": failed, "full_frame_ms": full_ms})
    else:
        for one, drawn in found:
            print_prediction(one)
            if drawn is not None:
                say(f"wrote {drawn}")
        if times:
            own, full = times
            print_plain(
                f"Time of the first video, medians of {ROUNDS} runs in turns: {predictor.method.label} {own:.1f} ms, "
                f"f_L on whole frames {full:.1f} ms."
            )
    if failed:
        say(f"{len(failed)} of {len(options.videos)} videos could not be recognised")
    return FAILED if failed else 0


def _online(options: Namespace) -> int:
    if len(options.videos) > 1:
        raise UserError(f"--online recognises one stream, but there are {len(options.videos)} videos; give one")
    if options.out is not None or options.probabilities:
        raise UserError("--online draws no pictures; leave --out and --probabilities out, or --online")
    if options.seconds is not None and not options.seconds > 0:
        raise UserError(f"--seconds is {options.seconds}; give a number above 0")
    if options.exit_at is not None and not 0 < options.exit_at <= 1:
        raise UserError(f"--exit-at is {options.exit_at:g}; give a probability above 0, and at most 1")

    from adafocus_rl.experiments.cli.online import distance, recognise_online

    every = distance("1" if options.every is None else options.every)
    try:
        return recognise_online(
            load_system(options),
            options.videos[0],
            every=every,
            exit_at=options.exit_at,
            seconds=options.seconds,
            top=options.top,
            as_json=options.json,
        )
    except DecodeError as error:
        say(f"{error}")
        return FAILED


def plain(prediction: Prediction, count: int) -> dict[str, Any]:
    """Return a prediction as plain values for JSON."""
    return {
        "path": prediction.path,
        "top": [{"label": label, "confidence": confidence} for label, confidence in prediction.top(count)],
        "boxes": prediction.boxes.tolist(),
        "height": prediction.size[0],
        "width": prediction.size[1],
        "stored_boxes": prediction.stored_boxes.tolist(),
        "kept": prediction.kept.tolist(),
        "frames": prediction.frames.tolist(),
        "gmacs": prediction.gmacs,
        "full_frame_gmacs": prediction.full_frame_gmacs,
        "ms": prediction.ms,
        # Only of methods that choose sizes or an order, skip whole frames or stop.
        **{name: value.tolist() for name, value in prediction.trace.choices(0).items()},
    }


def print_prediction(one: dict[str, Any]) -> None:
    """Print a prediction, as returned by ``plain``, on stdout in readable form."""
    from adafocus_rl.experiments.report.shown import stop_of

    print_plain(one["path"], style="bold")
    table = PlainTable(box=False)
    table.column("", "", "", right=False)
    for entry in one["top"]:
        share = entry["confidence"]
        table.row(f"{100 * share:5.1f} %", "█" * round(20 * share) or "▏", entry["label"])
    table.print()
    kept = one["kept"]
    looked = "all" if all(kept) else str(sum(kept))
    # In whole pixels of the video, and by the size of the patches in the clip, which rounding does not change.
    size, *others = {
        box[2]: (round(own[2]), round(own[3])) for box, own in zip(one["boxes"], one["stored_boxes"], strict=True)
    }.values()
    numbers, what = 2, f"of {size[0]}×{size[1]} pixels, by frame, (top, left)"
    if others:
        numbers, what = 4, "by frame, (top, left, height, width)"
    patches = "  ".join(f"{frame}: {_look(one, place, numbers)}" for place, frame in enumerate(one["frames"]))
    print_plain(f"  patches {what}: {patches}")
    stop = stop_of(one["ran"]) if "ran" in one else None
    early = "" if stop is None else f", stopped after {stop} of {len(kept)},"
    print_plain(
        f"  f_L looked at {looked} of {len(kept)} frames{early}: {one['gmacs']:.4g} GMACs in {one['ms']:.1f} ms; "
        f"f_L on whole frames: {one['full_frame_gmacs']:.4g} GMACs"
    )
    print_plain("")


def _look(one: dict[str, Any], place: int, numbers: int) -> str:
    """Return where, at which size and in which order f_L looked at a frame; a dash if it did not."""
    if not one["kept"][place]:
        return "–"
    box = ", ".join(str(round(at)) for at in one["stored_boxes"][place][:numbers])
    size = f" at {one['sizes'][place]}" if "sizes" in one else ""
    order = f" as no. {one['order'][place] + 1}" if "order" in one else ""
    return f"({box}){size}{order}"


def _draw(shown: ShownVideo, name: str, out: Path, number: int, *, heat: bool) -> Path:
    """Write the film or picture of one video; in a folder, under the video's name. Return its path."""
    from adafocus_rl.experiments.report.pictures import write_pictures

    if out.suffix not in OVERLAYS:
        out.mkdir(parents=True, exist_ok=True)
        stem = Path(name).stem.replace(" ", "_")
        path = out / f"{stem}.mp4"
        # Videos of different folders may have the same name.
        out = path if not path.exists() else out / f"{stem}.{number}.mp4"
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
    write_pictures(out, [shown], name=name, heat=heat)
    return out
